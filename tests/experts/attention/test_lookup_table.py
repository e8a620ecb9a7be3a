"""A look-up table equals a list of rows that is read as a whole, and knows of itself how it was read."""

import math
from functools import partial

import pytest
import torch
from torch import Tensor

from badger.testing.contract import close
from badger.testing.core.cases import equal_runs, noise, run
from experts import GRU, LSTM, EpisodicMemory, LookupTable, Private
from experts import state as states

D, H, K, V, B, N, T = 2, 3, 4, 5, 2, 2, 7


def build(**options) -> LookupTable:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        options = {"key_size": K, "value_size": V, **options}
        return LookupTable(D, partial(GRU, hidden_size=H), **options).double()


def inputs(seed: int = 0) -> Tensor:
    return noise(T, B, N, D, seed=seed).requires_grad_()


def absences() -> Tensor:
    present = noise(T, B, N, seed=5) > -0.5
    assert not present.all() and not present.any(2).all()  # in some steps nobody is there
    return present


def listed(core: LookupTable, xs: Tensor, present: Tensor) -> Tensor:
    """The same by a list of rows (key, value), one episode, one member and one head after the other."""
    weights = dict(core.named_parameters())
    gru = [weights[f"controller.{part}"] for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]

    def heads(name, h):
        vectors = torch.tanh(weights[f"{name}.weight"] @ h + weights[f"{name}.bias"])
        return vectors.split(len(vectors) // core.heads)

    episodes = []
    for b in range(xs.shape[1]):
        rows, ys = [], []
        h, read = [xs.new_zeros(H)] * N, [xs.new_zeros(core.value_size)] * N
        for t, x in enumerate(xs[:, b]):
            active = [i for i in range(N) if present[t, b, i]]
            for i in active:
                eaten = torch.cat([x[i], read[i]]).unsqueeze(0)
                h[i] = torch.gru_cell(eaten, h[i].unsqueeze(0), *gru).squeeze(0)
                rows += list(zip(heads("key", h[i]), heads("value", h[i]), strict=True))
            for i in active:
                answers = []
                for query in heads("query", h[i]):
                    fractions = torch.stack([core.scale * (query * key).sum() for key, _ in rows]).exp()
                    answers.append(
                        sum(s * value for s, (_, value) in zip(fractions, rows, strict=True)) / fractions.sum()
                    )
                read[i] = sum(answers) / len(answers)
            out = [weights["out.weight"] @ torch.cat([h[i], read[i]]) + weights["out.bias"] for i in range(N)]
            ys.append(torch.stack(out))
        episodes.append(torch.stack(ys))
    return torch.stack(episodes, 1)


@pytest.mark.parametrize("options", [{}, {"heads": 2}, {"heads": 3, "output_size": 1, "scale": 2.0}], ids=str)
def test_every_number_of_heads_equals_a_list_of_rows(options):
    core, xs, present = build(**options), inputs(), absences()
    equal_runs(core, xs, run(core, xs, present=present)[0], listed(core, xs, present))


def test_a_row_can_be_read_in_the_step_that_writes_it():
    core, x = build(), inputs()[0][:, :1]
    _, state = core(x, core.initial_state(x))
    close(state.read, state.write_value)  # there is no other row


def test_the_read_is_the_mean_over_heads_of_the_values_by_their_weights():
    core, xs = build(heads=2), inputs()
    passed, state = [], core.initial_state(xs[0])
    for x in xs:
        passed.append(state := core(x, state)[1])
    values = torch.stack([s.write_value for s in passed], 1).view(B, -1, V)  # (B, T, N, 2 V) -> rows
    close(core.read_weights(state) @ values, state.read)


def test_nothing_is_forgotten():
    core, xs = build(), torch.cat([inputs(seed) for seed in range(20)])  # more than a first storage holds
    for ys, state in (run(core, xs), core.unroll(xs, core.initial_state(xs[0]))):
        assert core.metrics(state)["slots_used"].tolist() == [len(xs) * N] * B
        assert core.read_weights(state).shape == (B, N, len(xs) * N)
        with torch.no_grad():
            close(run(core, xs)[0], ys)


def test_a_table_is_told_apart_from_its_episode_before():
    core, xs = build(heads=2), inputs()
    _, state = run(core, xs)
    state = states.where(torch.tensor([True, False]), core.initial_state(xs[0]), state)
    assert core.metrics(state)["read_entropy"][0] == 0
    _, state = core(xs[0], state)
    assert core.metrics(state)["slots_used"].tolist() == [2 * N, (T + 1) * 2 * N]
    assert (core.read_weights(state)[0] > 0).sum(-1).tolist() == [2 * N] * N
    close(core.read_weights(state).sum(-1), torch.ones(B, N).double())


def test_a_read_of_equal_keys_has_the_entropy_of_all_rows():
    core, xs = build(), inputs()
    torch.nn.init.zeros_(core.query.weight.detach())
    torch.nn.init.zeros_(core.query.bias.detach())
    entropy = core.metrics(run(core, xs)[1])["read_entropy"]
    assert entropy.tolist() == pytest.approx([math.log(T * N)] * B)


def test_a_member_that_is_absent_keeps_what_it_read_and_wrote_last():
    core, xs = build(), inputs()
    _, previous = core(xs[0], core.initial_state(xs[0]))
    _, final = core(xs[1], previous, torch.tensor([[True, False]] * B))
    for name in ("query", "read", "write_key", "write_value"):
        was, current = getattr(previous, name), getattr(final, name)
        assert current[:, 1].equal(was[:, 1]) and not current[:, 0].equal(was[:, 0])


def test_products_are_divided_by_the_root_of_the_key_size_unless_a_scale_is_given():
    assert build(key_size=16).scale == 0.25
    assert build(key_size=16, scale=1.0).scale == 1.0


def test_a_table_may_be_the_controller_of_a_memory():
    inner = partial(LookupTable, controller=partial(LSTM, hidden_size=H), key_size=K, value_size=V, output_size=H)
    core = Private(EpisodicMemory(D, inner)).double()
    ys, state = run(core, inputs())
    assert ys.shape == (T, B, N, H) and core.metrics(state)["inner_slots_used"].tolist() == [T] * B


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_a_scale_that_is_no_number_above_0_is_refused(scale):
    with pytest.raises(ValueError, match=f"scale={scale}, want a number above 0"):
        build(scale=scale)


@pytest.mark.parametrize("controller", [GRU(D + K, H), lambda size: torch.nn.GRUCell(size, H)])
def test_a_controller_that_is_no_factory_of_a_core_is_refused(controller):
    with pytest.raises(TypeError, match=r"the controller is a GRU.*, want a factory int -> Core such as partial\(GRU"):
        LookupTable(D, controller, key_size=K, value_size=K)


def test_what_was_read_last_has_a_norm_that_is_told():
    core = build()
    state = run(core, noise(T, B, N, D))[1]
    close(core.metrics(state)["read_norm"], state.read.norm(dim=-1).mean(1))


@pytest.mark.parametrize("size", ["key_size", "value_size", "heads", "output_size"])
def test_a_size_below_one_is_refused(size):
    with pytest.raises(ValueError, match=f"{size}=0, want at least 1"):
        build(**{size: 0})


def test_a_controller_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"input_size=3, want x 2 \+ read 5 = 7; pass a factory"):
        LookupTable(D, lambda _: GRU(3, H), key_size=K, value_size=V)
