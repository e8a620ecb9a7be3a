"""AMRL, GTrXL and a window equal lists of what was seen; a feed-forward core remembers nothing."""

import math
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.func import functional_call, vmap

import oracles_working as oracles
from badger.testing.contract import close
from badger.testing.core.cases import equal_runs, grads, noise, run
from badger.testing.core.stepping import unchecked
from experts import AMRL, GRU, LSTM, MQN, Core, Feedforward, GTrXL, Linear, LookupTable, Window
from experts import state as states
from experts.attention import sliding_window as band

D, H, B, N, T = 3, 5, 2, 2, 9  # H odd: halves are not alike, and heads do not divide it
LIVE = partial(LSTM, hidden_size=H)
BLIND = partial(Feedforward, hidden_size=H)

MADE = {
    "amrl-sum": (partial(AMRL, D, LIVE, kind="sum"), oracles.amrl),
    "amrl-avg": (partial(AMRL, D, LIVE, kind="avg"), oracles.amrl),
    "amrl-max": (partial(AMRL, D, LIVE, kind="max", output_size=2), oracles.amrl),
    "window": (partial(Window, D, BLIND, slots=3, key_size=2, value_size=4, heads=2), oracles.window),
    "window-1": (partial(Window, D, LIVE, slots=1, output_size=2), oracles.window),
    "mqn": (partial(MQN, D, partial(Linear, hidden_size=H), slots=3), oracles.mqn),
    "rmqn": (partial(MQN, D, LIVE, slots=1, output_size=2), oracles.mqn),
    "frmqn": (partial(MQN, D, LIVE, slots=3, output_size=4, feedback=True), oracles.mqn),
    "gtrxl": (partial(GTrXL, D, H, memory=3), oracles.gtrxl),
    "gtrxl-1": (partial(GTrXL, D, H, memory=1, layers=3, heads=1, key_size=3, inner=2, bias=0.5), oracles.gtrxl),
}
made = pytest.mark.parametrize("make, oracle", MADE.values(), ids=list(MADE))


def build(make) -> Core:
    """With every parameter drawn, those too that begin as zeros."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        core = make().double()
    for i, parameter in enumerate(core.parameters()):
        parameter.data = 0.5 * noise(*parameter.shape, seed=i) + (1 if parameter.dim() == 1 else 0)
    return core


def inputs(seed: int = 0) -> Tensor:
    return noise(T, B, N, D, seed=seed).requires_grad_()


def resets() -> Tensor:
    reset = torch.zeros(T, B, dtype=torch.bool)
    reset[2, 0] = reset[3, 0] = reset[6, 1] = True
    return reset


@made
def test_the_loop_equals_a_list_of_what_was_seen(make, oracle):
    core, xs = build(make), inputs()
    present = noise(T, B, N, seed=5) > -0.5
    present[0] = True
    assert not present.all()
    want = oracles.lives(partial(oracle, core), xs, present=present)
    equal_runs(core, xs, run(core, xs, present=present)[0], want)


@made
@pytest.mark.parametrize("least", [1, 100], ids=["in pieces", "at once"])
def test_all_steps_with_resets_equal_a_list_of_what_was_seen(make, oracle, least, monkeypatch):
    monkeypatch.setattr(band, "MIN_CHUNK", least)
    core, xs = build(make), inputs()
    ys, _ = core.unroll(xs, core.initial_state(xs[0]), resets())
    equal_runs(core, xs, ys, oracles.lives(partial(oracle, core), xs, resets()))


@made
def test_a_state_in_mid_episode_goes_on_as_one_sequence(make, oracle):
    core, xs = build(make), inputs()
    start, state = core.unroll(xs[:4], core.initial_state(xs[0]))
    continued, state = core.unroll(xs[4:7], state, torch.zeros(3, B, dtype=torch.bool))
    ys = torch.cat([start, continued, run(core, xs[7:], state)[0]])
    equal_runs(core, xs, ys, oracles.lives(partial(oracle, core), xs))


@made
def test_memories_under_vmap_equal_those_outside(make, oracle):
    cores, xs = [build(make), build(make)], inputs().detach()
    for parameter in cores[1].parameters():
        parameter.data = parameter.data * 0.9

    class Whole(torch.nn.Module):
        def __init__(self, core):
            super().__init__()
            self.core = core

        def forward(self, xs):
            return self.core.unroll(xs, self.core.initial_state(xs[0]), resets())[0]

    whole = Whole(cores[0])
    stacked = {
        f"core.{k}": torch.stack([dict(c.named_parameters())[k] for c in cores])
        for k in dict(cores[0].named_parameters())
    }
    with unchecked():
        ys = vmap(lambda weights: functional_call(whole, weights, (xs,)))(stacked)
    for got, core in zip(ys, cores, strict=True):
        close(got, Whole(core)(xs))


@pytest.mark.parametrize("name", ["window", "gtrxl"])
def test_what_was_read_is_told_by_weights_that_sum_to_one_over_the_steps_in_sight(name):
    core, xs = build(MADE[name][0]), inputs()
    for steps, inside in ((1, 1), (2, 2), (T, 4)):
        _, looped = run(core, xs[:steps])
        _, whole = core.unroll(xs[:steps], core.initial_state(xs[0]))
        for state in (looped, whole):
            weights = core.read_weights(state)
            close(weights.sum(-1), torch.ones(B, N, dtype=torch.double))
            assert weights.shape[-1] == 4 and ((weights > 0).sum(-1) == inside).all()
            close(weights, core.read_weights(looped))
            for key, trace in core.read_write_vectors(looped).items():
                close(core.read_write_vectors(state)[key], trace)


@pytest.mark.parametrize("name", ["window", "gtrxl"])
def test_rows_of_the_episode_before_are_zeros_again(name):
    core, xs = build(MADE[name][0]), inputs()
    reset = torch.zeros(T, B, dtype=torch.bool)
    reset[-2, 0] = True
    _, state = core.unroll(xs, core.initial_state(xs[0]), reset)
    assert state.written.tolist() == [[2, 2], [3, 3]]
    oldest = state.rows[..., 0, :]
    assert not oldest[0].any() and oldest[1].any()


# AMRL


def test_of_three_steps_the_sum_the_mean_and_the_maximum():
    class Echo(Feedforward):
        def output(self, x):
            return x

    xs = torch.tensor([[0.0, -3.0], [0.0, 1.0], [0.0, -4.0]], dtype=torch.double).view(3, 1, 1, 2)
    for kind, want in {"sum": [-3, -2, -6], "avg": [-3, -1, -2], "max": [-3, 1, 1]}.items():
        core = AMRL(2, lambda size: Echo(size, 2), kind=kind).double()
        state, reads = core.initial_state(xs[0]), []
        for x in xs:
            _, state = core(x, state)
            reads.append(state.read.item())
            assert state.write_value == x[..., 1]
        assert reads == want


@pytest.mark.parametrize("kind", ["sum", "avg", "max"])
def test_gradients_pass_the_aggregate_undivided_to_every_step(kind):
    core = build(partial(AMRL, D, LIVE, kind=kind))
    core.controller = Feedforward(D, H).double()
    xs = inputs()
    _, state = core.unroll(xs, core.initial_state(xs[0]))
    (got,) = torch.autograd.grad(state.read.sum(), xs)
    (want,) = torch.autograd.grad(run(core.controller, xs)[0][..., -2:].sum(), xs)
    close(got, want)


def test_the_aggregate_of_absent_members_stays():
    core, xs = build(MADE["amrl-avg"][0]), inputs()
    _, state = run(core, xs)
    _, final = core(xs[0], state, torch.tensor([[True, False], [False, True]]))
    assert final.aggregates.steps.squeeze(-1).tolist() == [[T + 1, T], [T, T + 1]]


# GTrXL


def test_detaching_is_the_stopped_gradient_of_the_segment_before():
    core, xs = build(MADE["gtrxl"][0]), inputs()
    first, state = core.unroll(xs[:5], core.initial_state(xs[0]))
    ys = torch.cat([first, core.unroll(xs[5:], states.detach(state))[0]])
    want = oracles.lives(partial(oracles.gtrxl, core, cut=(5,)), xs)
    equal_runs(core, xs, ys, want)
    whole = core.unroll(xs, core.initial_state(xs[0]))[0]
    assert not torch.allclose(grads(whole, xs)[0], grads(ys, xs)[0])


@pytest.mark.parametrize("memory, layers", [(1, 2), (2, 3)])
def test_each_layer_looks_so_many_steps_further_back(memory, layers):
    core, xs = build(partial(GTrXL, D, H, memory=memory, layers=layers)), inputs()
    ys, _ = core.unroll(xs, core.initial_state(xs[0]))
    reached = grads(ys[-1], xs)[0].abs().sum((1, 2, 3)) > 0
    assert reached.tolist() == [t >= T - 1 - memory * layers for t in range(T)]


def test_a_gate_begins_by_letting_little_in():
    layer = GTrXL(D, H, memory=2).double().layers[0]
    for gate in (layer.gate, layer.gate_within):
        for linear in (gate.of_x, gate.of_y, gate.of_reset):
            torch.nn.init.zeros_(linear.weight)
        x = noise(B, H)
        close(gate(x, noise(B, H, seed=1)), x / (1 + math.exp(-2)))


# Window


def test_a_window_around_a_feedforward_core_forgets_what_has_left_it():
    core, xs = build(MADE["window"][0]), inputs()
    for ys in (run(core, xs)[0], core.unroll(xs, core.initial_state(xs[0]))[0]):
        reached = grads(ys[-1], xs)[0].abs().sum((1, 2, 3)) > 0
        assert reached.tolist() == [t >= T - 1 - 3 for t in range(T)]


def test_ages_are_alike_at_first():
    core = Window(D, BLIND, slots=3)
    assert not core.age_embedding.any()


def test_what_is_written_is_what_the_next_steps_compare_with():
    core, xs = build(MADE["window"][0]), inputs()
    _, state = run(core, xs)
    numbers = core.read_write_vectors(state)
    close(numbers["write_key"], core.key(xs[-1]))
    close(numbers["write_value"], core.value(xs[-1]))


@pytest.mark.parametrize("wrap", [partial(AMRL, D), partial(Window, D, slots=3)], ids=["amrl", "window"])
def test_members_of_a_controller_that_shares_a_store_are_gathered_by_it(wrap):
    inner = partial(LookupTable, controller=LIVE, key_size=2, value_size=2)
    core, xs, later = build(partial(wrap, inner)), inputs(), inputs(1)
    _, state = run(core, xs)
    moved = core.select_members(state, torch.tensor([1, 0]), later[0])
    close(run(core, later.flip(2), moved)[0].flip(2), run(core, later, state)[0])
    initial = core.select_members(state, torch.tensor([0, -1]), later[0])
    counts = initial.aggregates.steps.squeeze(-1) if isinstance(core, AMRL) else initial.written
    assert (counts[:, 0] > 0).all() and not counts[:, 1].any()
    assert core.losses(state) == {} and core.metrics(state)["slots_used"].shape == (B,)


# Memory Q-networks


@pytest.mark.parametrize("name", ["mqn", "rmqn", "frmqn"])
def test_a_memory_q_network_reads_the_frames_before_the_present_one(name):
    core, xs = build(MADE[name][0]), inputs()
    for steps in (1, 2, T):
        _, looped = run(core, xs[:steps])
        _, whole = core.unroll(xs[:steps], core.initial_state(xs[0]))
        for state in (looped, whole):
            weights, inside = core.read_weights(state), min(steps - 1, core.slots)
            assert weights.shape == (B, N, core.slots) and ((weights > 0).sum(-1) == inside).all()
            close(weights.sum(-1), torch.full((B, N), float(inside > 0), dtype=torch.double))
            close(weights, core.read_weights(looped))
            close(core.read_write_vectors(state)["read"], looped.read)
        if steps == 1:
            assert not looped.read.any()


def test_a_linear_memory_q_network_forgets_what_has_left_its_window():
    core, xs = build(MADE["mqn"][0]), inputs()
    ys, _ = core.unroll(xs, core.initial_state(xs[0]))
    reached = grads(ys[-1], xs)[0].abs().sum((1, 2, 3)) > 0
    assert reached.tolist() == [t >= T - 1 - 3 for t in range(T)]


@pytest.mark.parametrize("name", ["mqn", "frmqn"])
def test_a_memory_q_network_may_be_given_another_window_after_training(name):
    make, oracle = MADE[name]
    core, xs = build(make), inputs()
    core.slots = 6
    equal_runs(core, xs, run(core, xs)[0], oracles.lives(partial(oracle, core), xs))


# Feed-forward


def test_a_feedforward_core_remembers_nothing():
    core, xs = build(partial(Feedforward, D, H)), inputs()
    ys, _ = core.unroll(xs, core.initial_state(xs[0]), resets())
    close(ys.flip(0), run(core, xs.flip(0))[0])
    assert not grads(ys[-1], xs)[0][:-1].any()


# Bad input


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AMRL(D, LIVE, kind="mean"), "kind='mean', want one of sum, avg, max"),
        (lambda: AMRL(D, partial(GRU, hidden_size=1)), "output_size=1, want at least 2: half is aggregated"),
        (lambda: AMRL(D, lambda size: GRU(size + 1, H)), f"input_size={D + 1}, want x {D}"),
        (lambda: AMRL(D, LIVE, output_size=0), "output_size=0, want at least 1"),
        (lambda: Window(D, LIVE, slots=0), "slots=0, want at least 1"),
        (lambda: Window(D, lambda size: GRU(size + 1, H), slots=2), f"input_size={D + 1}, want x {D}"),
        (lambda: Window(D, LIVE, slots=2, output_size=0), "output_size=0, want at least 1"),
        (lambda: GTrXL(D, H, memory=0), "memory=0, want at least 1"),
        (lambda: GTrXL(D, H, key_size=0), "key_size=0, want at least 1"),
        (lambda: GTrXL(D, H, layers=0), "layers=0, want at least 1"),
    ],
)
def test_sizes_that_cannot_be_are_told(make, message):
    with pytest.raises(ValueError, match=message), unchecked():
        make()
