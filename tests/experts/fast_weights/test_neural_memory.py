"""A neural memory equals its oracle, its gradient rule is that of autograd, and its loss asks for what it wrote."""

from itertools import product

import pytest
import torch

import oracles_neural
from badger.testing.contract import close
from badger.testing.core.cases import B, D, N, T, noise, run
from badger.testing.core.stepping import unchecked
from experts import GRU, NeuralMemory, Private
from experts.fast_weights.write_rules import activations, gradient_errors, write_read
from toy_memories import neural_memory

W, HIDDEN = 4, 3
OPTIONS = [
    {"rule": rule, "heads": heads, "layers": layers}
    for rule, heads, layers in product(("local", "gradient"), (1, 2), (1, 2, 3))
]
options = pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(str(v) for v in o.values()))
rules = pytest.mark.parametrize("rule", ["local", "gradient"])


def played(core, xs, present=None):
    """The state after each step, first of all that before."""
    states = [core.initial_state(xs[0])]
    for t, x in enumerate(xs):
        states.append(core(x, states[-1], None if present is None else present[t])[1])
    return states


@options
def test_steps_equal_the_oracle(options):
    core, xs = neural_memory(**options), noise(T, B, N, D)
    present = torch.rand(T, B, N, generator=torch.Generator().manual_seed(1)) > 0.3
    present[2, 0] = False  # nobody
    weights = {name: value.detach().numpy() for name, value in core.state_dict().items()}
    ys, _ = run(core, xs, present=present)
    final = played(core, xs, present)
    for b in range(B):
        memory = list(weights["initial"])
        for t in range(T):
            state, hs = final[t + 1], final[t + 1].h[b].detach().numpy()
            memory, y, read, meta = oracles_neural.step(
                weights, memory, hs, rule=core.rule, heads=core.heads, scale=core.scale, present=present[t, b]
            )
            for got, want in zip(state.memory, memory, strict=True):
                close(got[b], torch.from_numpy(want))
            for i in present[t, b].nonzero().flatten().tolist():
                close(ys[t, b, i], torch.from_numpy(y[i]))
                close(state.read[b, i], torch.from_numpy(read[i]))
            close(core.losses(state)["meta"][b], torch.tensor(meta, dtype=torch.double))


@pytest.mark.parametrize("layers", [1, 2, 3, 5])
def test_the_gradient_rule_is_the_gradient_of_the_error_before_the_write(layers):
    memory = tuple(noise(B, W, W, seed=i).requires_grad_() for i in range(layers))
    keys, values = noise(B, 3, W, seed=8), noise(B, 3, W, seed=9)
    error = (activations(memory, keys)[-1] - values).square().mean((1, 2)).sum()
    fraction = torch.full((B, 3, 1), 2 / (3 * W), dtype=torch.double)  # the default scale of three heads
    final, _ = write_read(gradient_errors, memory, keys, values, fraction, keys)
    for m, gradient, got in zip(memory, torch.autograd.grad(error, memory), final, strict=True):
        close(got, m - gradient)


@rules
def test_gradients_are_those_of_differences(rule):
    core = neural_memory(GRU, rule=rule, heads=2, width=2, layers=3, delay=1)
    xs = noise(3, 1, 2, D).requires_grad_()
    present = torch.tensor([[True, True], [True, False], [True, True]]).unsqueeze(1)

    def numbers(xs, *_):
        final = played(core, xs, present)[1:]
        return torch.stack([s.read.sum() + core.losses(s)["meta"].sum() + s.memory[0][0, 0, 1] for s in final])

    weights = (core.interact.weight, core.controller.weight_ih, core.rate.bias)
    assert torch.autograd.gradcheck(numbers, (xs, *weights), fast_mode=True)


def test_a_write_of_full_rate_stores_a_value_in_a_linear_memory():
    """One layer is a matrix: with a key of length 1, share 1 puts the value where the key points."""
    key = torch.nn.functional.normalize(noise(B, 1, W), dim=-1)
    value, one = noise(B, 1, W, seed=1), torch.ones(B, 1, 1, dtype=torch.double)
    _, recalled = write_read(gradient_errors, (noise(B, W, W, seed=2),), key, value, one, key)
    close(recalled, value)


def test_equal_members_write_what_one_would():
    """The mean of the changes: so f moves no further, the more they are."""
    core, xs = neural_memory(heads=2), noise(T, B, 1, D)
    _, one = run(core, xs)
    _, many = run(core, xs.expand(T, B, 5, D))
    for a, b in zip(one.memory, many.memory, strict=True):
        close(a, b)
    close(core.losses(one)["meta"], core.losses(many)["meta"])


@rules
def test_the_default_scale_is_that_of_the_mean_squared_error(rule):
    assert neural_memory(rule=rule, scale=None, heads=3).scale == pytest.approx(2 / (3 * W))


@rules
def test_the_delayed_loss_asks_for_older_writes(rule):
    core, xs = neural_memory(rule=rule, heads=2, delay=2, decay=0.5), noise(T, B, N, D)
    final = played(core, xs)
    for t in range(1, T + 1):
        want = torch.zeros(B, dtype=torch.double)
        for ago in range(min(3, t)):
            old = final[t - ago]
            keys, values = (part.reshape(B, -1, W) for part in (old.write_key, old.write_value))
            recalled = activations(final[t].memory, keys)[-1]
            want = want + 0.5**ago * (recalled - values).square().mean((1, 2))
        close(core.losses(final[t])["meta"], want)


def test_a_delay_changes_the_loss_alone():
    xs = noise(T, B, N, D)
    close(run(neural_memory(delay=2), xs)[0], run(neural_memory(), xs)[0])


def test_an_episode_begins_with_the_network_of_the_buffer():
    core = neural_memory()
    assert {"initial"} <= core.state_dict().keys() and "initial" not in dict(core.named_parameters())
    assert torch.dist(core.initial @ core.initial.mT, torch.eye(W).double()) < 1e-5  # orthogonal, drawn in float32
    for m, initial in zip(core.initial_state(noise(B, N, D)).memory, core.initial, strict=True):
        close(m, initial.expand(B, -1, -1))
    other = neural_memory()
    other.load_state_dict({name: value + 1 for name, value in core.state_dict().items()})
    close(other.initial, core.initial + 1)


@pytest.mark.parametrize("heads", [1, 3])
def test_at_first_a_read_key_is_the_write_key_of_its_head(heads):
    keys = neural_memory(heads=heads).interact.weight[W:].split(heads * W)
    assert torch.equal(keys[0], keys[1]) and not torch.equal(keys[0], keys[2])


def test_the_loss_teaches_values_too():
    """What is written is no goal that stands still: its norm is a metric, as it can collapse."""
    core, xs = neural_memory(), noise(T, B, N, D)
    state = played(core, xs)[-1]
    value = core.interact.bias
    (gradient,) = torch.autograd.grad(core.losses(state)["meta"].sum(), value)
    assert gradient[-W:].abs().max() > 0


def test_metrics_are_those_worked_out_by_hand():
    core, xs = neural_memory(heads=2), noise(T, B, N, D)
    _, state = run(core, xs)
    numbers = core.metrics(state)
    assert set(numbers) == {"write_rate", "memory_norm", "write_norm", "read_norm", "meta_loss"}
    close(numbers["memory_norm"], torch.stack(state.memory, 1).flatten(1).norm(dim=1).detach())
    close(numbers["write_norm"], state.write_value.reshape(B, N * 2, W).norm(dim=-1).mean(1).detach())
    close(numbers["read_norm"], state.read.norm(dim=-1).mean(1).detach())
    close(numbers["write_rate"], state.rate.mean(1).detach())
    assert ((numbers["write_rate"] > 0) & (numbers["write_rate"] < 1)).all()


def test_a_member_that_comes_finds_the_memory_that_there_is():
    core, xs = neural_memory(), noise(T, B, N, D)
    _, state = run(core, xs)
    joined = core.select_members(state, torch.tensor([1, -1]), xs[0][:, :2])
    for a, b in zip(joined.memory, state.memory, strict=True):
        close(a, b)
    close(joined.read[:, 0], state.read[:, 1])
    assert not joined.read[:, 1].any()


def test_private_memories_report_the_mean_of_their_losses():
    core, xs = neural_memory(), noise(T, B, N, D)
    _, state = run(Private(core), xs)
    alone = [core.losses(run(core, xs[:, :, i : i + 1])[1])["meta"] for i in range(N)]
    close(Private(core).losses(state)["meta"], torch.stack(alone).mean(0))


class Short(GRU):
    """A controller that does not eat what it is asked to."""

    def __init__(self, size):
        super().__init__(size - 1, 3)


BAD = [
    ({"heads": 0}, "heads=0, want at least 1"),
    ({"layers": 0}, "layers=0, want at least 1"),
    ({"width": -1}, "width=-1, want at least 1"),
    ({"output_size": 0}, "output_size=0, want at least 1"),
    ({"rule": "hebb"}, "rule='hebb', want one of local, gradient"),
    ({"scale": 0.0}, "scale=0.0, want a number above 0, or None"),
    ({"delay": -1}, "delay=-1, want 0, or the number of previous writes"),
    ({"decay": 1.5}, "decay=1.5, want above 0 and at most 1"),
]


@pytest.mark.parametrize("options, message", BAD, ids=lambda o: "-".join(o) if isinstance(o, dict) else "")
def test_bad_options_are_refused(options, message):
    with unchecked(), pytest.raises(ValueError, match=message):
        neural_memory(**options)


def test_a_controller_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"input_size=7, want x 4 \+ read 4 = 8; pass a factory"):
        NeuralMemory(4, Short, width=4)
