"""A differentiable neural computer equals its equations slot by slot, and its written-out gradient that of autograd."""

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some
from torch.func import functional_call, vmap

from badger.testing.contract import close
from badger.testing.core import UNCOMPILED, check_core
from badger.testing.core.cases import equal_runs, grads, noise, run
from badger.testing.core.stepping import unchecked
from experts import DNC, GRU, LSTM, Core, Private
from experts.dnc import addressing
from experts.dnc import fused_step as linked
from oracles_dnc import Store, allocation
from toy_memories import Unroll, absences, ensemble, inputs, resets, stepped

D, H, B, N = 2, 3, 2, 2
SLOTS, WIDTH, HEADS = 5, 3, 2
STORES = pytest.mark.parametrize("private", [True, False], ids=["private", "shared"])
IMPROVED = dict.fromkeys(("masking", "deallocation", "sharpness"), True)
OPTIONS = pytest.mark.parametrize("options", [{}, *({name: True} for name in IMPROVED), IMPROVED], ids=" ".join)


def build(private: bool = False, **options) -> Core:
    """With an interface that says something: gates near 0 and near 1."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        sizes = {"slots": SLOTS, "slot_size": WIDTH, "heads": HEADS}
        core = DNC(D, partial(GRU, hidden_size=H), **{**sizes, **options}).double()
        torch.nn.init.normal_(core.interface.weight, std=2)
    return Private(core) if private else core


def walked(core: DNC, xs: torch.Tensor, present: torch.Tensor, row: int, **options) -> tuple[torch.Tensor, Store]:
    """Controller, interface and output of ours around the oracle's store, in one row of the batch."""
    members = xs.shape[2]
    store = Store(core.slots, core.slot_size, core.heads, members, **options)
    controller, ys = core.controller.initial_state(noise(1, members, core.controller.input_size)), []
    for x, active in zip(xs[:, row], present[:, row], strict=True):
        eaten = torch.cat([x, torch.from_numpy(store.reads).flatten(1)], -1)
        h, controller = core.controller(eaten.unsqueeze(0), controller, active.unsqueeze(0))
        store.step(core.interface(h)[0].numpy(), active)
        ys.append(core.output(torch.cat([h[0], torch.from_numpy(store.reads).flatten(1)], -1)))
    return torch.stack(ys), store


# Equal to the oracle


@torch.no_grad()
@pytest.mark.parametrize("members, gone", [(1, False), (3, False), (3, True)])
@OPTIONS
def test_outputs_and_states_are_those_of_the_equations(options, members, gone):
    core, xs = build(**options), 3 * noise(8, B, members, D)
    present = noise(8, B, members, seed=5) < (0.5 if gone else 9)
    ys, state = run(core, xs, present=present)
    for row in range(B):
        want, store = walked(core, xs, present, row, **options)
        close(ys[:, row], want)
        usage = store.usage + store.written - store.usage * store.written
        for got, oracle in (
            (state.memory, store.memory),
            (state.usage, usage),
            (state.link, store.link),
            (state.precedence, store.precedence),
            (state.read_weights, store.weights),
            (state.read, store.reads.reshape(members, -1)),
        ):
            close(got[row], torch.from_numpy(oracle))
        if present[-1, row, -1]:
            close(state.write_weights[row, -1], torch.from_numpy(store.written))


@STORES
@OPTIONS
def test_the_written_out_gradient_is_that_of_autograd(options, private, monkeypatch):
    core, xs, episodes = build(private, **options), inputs(6), {"reset": resets(6), "present": absences(6)}
    ys, _ = stepped(core, xs, **episodes)
    plain, _ = plainly(monkeypatch, core, xs, **episodes)
    equal_runs(core, xs, ys, plain)


def plainly(monkeypatch, core, xs, **episodes):
    """In plain operations, as under torch.func."""
    with monkeypatch.context() as patch:
        patch.setattr(linked, "functorch_active", lambda: True)
        return stepped(core, xs, **episodes)


@OPTIONS
def test_every_part_of_a_state_passes_its_gradient_on(options, monkeypatch):
    """Also those that no output of the next step shows."""
    core, xs = build(**options), inputs(4)
    parts = [stepped(core, xs)[1][-1], plainly(monkeypatch, core, xs)[1][-1]]
    fields = (
        "memory",
        "usage",
        "link",
        "precedence",
        "write_weights",
        "read_weights",
        "read",
        "write_key",
        "write_value",
    )
    for name in fields:
        got, want = (grads(getattr(state, name), xs, *core.parameters()) for state in parts)
        for a, b in zip(got, want, strict=True):
            close(a, b)


@OPTIONS
def test_gradients_are_those_of_finite_differences(options):
    core = build(slots=3, slot_size=2, **options)
    unroll, xs = Unroll(core), inputs(3, batch=1)
    named = {name: p.detach().requires_grad_() for name, p in unroll.named_parameters()}

    def episode(x, *weights):
        return functional_call(unroll, dict(zip(named, weights, strict=True)), (x,))

    assert torch.autograd.gradcheck(episode, (xs, *named.values()), fast_mode=True)


def test_a_slot_that_a_head_frees_for_certain_has_a_gradient():
    """The product of what each head spares is 0, and so are all but one of its factors' others."""
    factors = torch.tensor([[[0.0, 0.5], [0.5, 0.0], [0.25, 0.0]]]).double()
    close(linked.product_of_others(factors), torch.tensor([[[0.125, 0.0], [0.0, 0.0], [0.0, 0.0]]]).double())


# What holds for every store


@STORES
@OPTIONS
def test_weights_links_and_usages_stay_what_they_are(options, private):
    core, xs = build(private, **options), 3 * noise(15, B, N, D)
    for state in stepped(core, xs, present=absences(15))[1]:
        weights, link = state.read_weights, state.link
        for fraction in (weights, state.write_weights, state.precedence, state.usage, link):
            assert (fraction >= 0).all() and (fraction <= 1 + 1e-9).all()
        for fractions in (weights, state.write_weights, state.precedence, link, link.mT):
            assert (fractions.sum(-1) <= 1 + 1e-9).all()
        assert not link.diagonal(dim1=-2, dim2=-1).any()


usages = some.lists(some.sampled_from([0.0, 1e-9, 0.2, 0.5, 1.0]) | some.floats(0, 1), min_size=1, max_size=8)


@settings(deadline=None, max_examples=60)
@given(usages, some.sampled_from([torch.float32, torch.float64]))
def test_allocation_is_at_most_all_of_a_write(usage, dtype):
    fractions, _ = addressing.allocation_weights(torch.tensor([usage], dtype=dtype))
    assert (fractions >= 0).all() and fractions.sum() <= 1 + 1e-6
    np.testing.assert_allclose(fractions[0], allocation(np.array(usage)), atol=1e-5)


def test_a_write_takes_the_freest_slot_first():
    fractions, _ = addressing.allocation_weights(
        torch.tensor([[0.5, 1.0, 0.0, 0.25], [1.0, 1.0, 1.0, 1.0], [0.5, 0.0, 0.0, 0.0]])
    )
    want = torch.tensor([[0.0, 0, 1, 0], [0, 0, 0, 0], [0, 1, 0, 0]])
    torch.testing.assert_close(fractions, want, atol=3e-6, rtol=0)


def test_rounding_errors_do_not_choose_a_slot():
    usage = torch.full((1, 6), 1 / 3) + 1e-7 * torch.tensor([3.0, 1, 2, 0, 4, 1])
    assert addressing.allocation_weights(usage)[0].argmax() == 0


def outputs(core: DNC, **values: float) -> torch.Tensor:
    """An interface for one member: parts by name, constant; all else is 0."""
    groups = core.interface_spec.split(torch.zeros(1, 1, core.interface_spec.size, dtype=torch.double))
    params = core.interface_spec.assemble(*(group.clone() for group in groups))
    vector = torch.cat([torch.full_like(p, 0) for p in params if p is not None], -1)
    index = 0
    for name, part in params._asdict().items():
        if part is not None:
            value = torch.as_tensor(values.get(name, 0.0), dtype=torch.double)
            vector[..., index : index + part.shape[-1]] = value
            index += part.shape[-1]
    return vector


SURE = 30.0  # a gate that is open


def played(core: DNC, *vectors: torch.Tensor) -> list[linked.StepOutput]:
    state = core.initial_state(torch.zeros(1, 1, D, dtype=torch.double))
    store, last, out = linked.DNCStore(state.memory, state.usage, state.link, state.precedence), state.read_weights, []
    for vector in vectors:
        results = linked.step(core.interface_spec, None, vector, last, store)
        store, last = linked.DNCStore(*results[:4]), results.weights
        out.append(results)
    return out


def writing(core: DNC, value: float, **more) -> torch.Tensor:
    """To a free slot, all of it."""
    return outputs(core, write_value=value, gates=[SURE, SURE, -SURE], erase=SURE, **more)


def test_what_was_written_is_read_forwards_and_backwards_in_time():
    core = build(heads=1)
    wait = [-SURE, 0, -SURE]
    first = writing(core, 1.0, keys=1.0, strengths=SURE, modes=[0, SURE, 0])
    written = [first] + [writing(core, v, keys=1.0, strengths=SURE, modes=[0, SURE, 0]) for v in (-2.0, -3.0)]
    on = outputs(core, gates=wait, modes=[0, 0, SURE])
    back = outputs(core, gates=wait, modes=[SURE, 0, 0])
    values = [results.values[0, 0, 0].item() for results in played(core, *written, on, on, back)]
    assert values == pytest.approx([1, 1, 1, -2, -3, -2], abs=1e-3)


def test_a_slot_that_was_read_and_freed_is_written_to_next():
    core = build(heads=1)
    find = {"keys": 1.0, "strengths": SURE, "modes": [0, SURE, 0]}
    free = outputs(core, gates=[-SURE, 0, SURE], **find)
    full = [writing(core, v) for v in (1.0, -2.0, -3.0, -4.0)]
    *_, results, freed, final = played(
        core, *full, outputs(core, gates=[-SURE, 0, -SURE], **find), free, writing(core, 9.0)
    )
    assert results.usage[0].round().tolist() == [1, 1, 1, 1, 0]
    assert freed.usage[0].round().tolist() == [0, 1, 1, 1, 0]
    assert final.memory[0, :, 0].tolist() == pytest.approx([9, -2, -3, -4, 0], abs=1e-3)


@pytest.mark.parametrize("deallocation", [False, True])
def test_what_is_freed_is_erased_where_asked_for(deallocation):
    core = build(heads=1, deallocation=deallocation)
    find = {"keys": 1.0, "strengths": SURE, "modes": [0, SURE, 0]}
    *_, freed = played(core, writing(core, 1.0, **find), outputs(core, gates=[-SURE, 0, SURE], **find))
    assert freed.memory[0, 0, 0].item() == pytest.approx(0 if deallocation else 1, abs=1e-3)


def test_a_mask_hides_numbers_of_a_key():
    core = build(heads=1, masking=True)
    rows = [outputs(core, write_value=v, gates=[SURE, SURE, -SURE], erase=SURE) for v in ([1.0, 1, 5], [1.0, -1, 7])]
    queries = {"keys": [1.0, 1, -9], "strengths": 99.0, "modes": [0, SURE, 0], "gates": [-SURE, 0, -SURE]}
    *_, blind = played(core, *rows, outputs(core, masks=[SURE, SURE, -SURE], **queries))
    assert blind.values[0, 0].tolist() == pytest.approx([1, 1, 5], abs=1e-3)


# However it is stepped


def test_a_store_that_members_share_holds_the_contract():
    def make(input_size: int, hidden_size: int) -> Core:
        controller = partial(LSTM, hidden_size=hidden_size)
        return DNC(input_size, controller, slots=SLOTS, slot_size=WIDTH, heads=HEADS, **IMPROVED)

    check_core(make, ordered=True, properties=UNCOMPILED)


@STORES
def test_memories_under_vmap_equal_those_outside(private):
    core, xs = build(private, **IMPROVED), inputs(6)
    unroll, stacked = Unroll(core, reset=resets(6), present=absences(6)), ensemble(core)
    ys = vmap(lambda weights: functional_call(unroll, weights, (xs,)))(stacked)
    for i in range(len(ys)):
        alone = functional_call(unroll, {name: p[i] for name, p in stacked.items()}, (xs,))
        close(ys[i], alone)
        for a, b in zip(grads(ys[i], xs, *stacked.values()), grads(alone, xs, *stacked.values()), strict=True):
            close(a, b)


def test_members_of_a_shared_store_do_not_take_the_same_free_slot():
    core = build(heads=1)
    vectors = torch.cat([writing(core, 1.0), writing(core, 2.0)], 1)
    state = core.initial_state(torch.zeros(1, 2, D, dtype=torch.double))
    store = linked.DNCStore(state.memory, state.usage, state.link, state.precedence)
    results = linked.step(core.interface_spec, None, vectors, state.read_weights, store)
    assert results.written[0].argmax(-1).tolist() == [0, 1]
    assert results.link[0, 1, 0] > 0.99  # and the second wrote after the first


def test_a_step_in_which_none_is_there_changes_nothing():
    core, xs = build(**IMPROVED), inputs(5)
    _, state = run(core, xs)
    _, final = core(xs[0], state, torch.zeros(B, N, dtype=torch.bool))
    for current, old in zip(final[1:], state[1:], strict=True):
        close(current, old)


def test_a_member_that_joins_a_shared_store_reads_what_the_others_wrote():
    core, xs, later = build(), inputs(5), noise(4, B, N, D, seed=1)
    _, state = run(core, xs[:, :, :1])
    joined, _ = run(core, later, core.select_members(state, torch.tensor([0, -1]), later[0]))
    _, waited = run(core, xs, present=torch.tensor([True, False]).expand(5, B, N))
    equal_runs(core, xs, joined, run(core, later, waited)[0])


# What it reports


def test_metrics_tell_gates_modes_and_use():
    core, xs = build(True), inputs(5)
    state = stepped(core, xs)[1][-1]
    numbers = core.metrics(state)
    close(numbers["slot_usage"], state.usage.mean((1, 2)))
    close(numbers["write_gate"], state.gates[..., 0].mean((1, 2)))
    close(numbers["free_gates"], state.gates[..., 2:].mean((1, 2, 3)))
    close(sum(numbers[f"read_{way}"] for way in ("backward", "content", "forward")), torch.ones(B).double())
    close(core.read_weights(state), state.read_weights.squeeze(2).mean(2))


def test_what_was_written_stands_in_the_state():
    core, xs = build(), inputs(3, n=1)
    _, state = run(core, xs)
    previous = run(core, xs[:2])[1]
    h, _ = core.controller(torch.cat([xs[2], previous.read], -1), previous.controller)
    key, value = core.interface(h)[..., : 2 * WIDTH].chunk(2, -1)
    close(state.write_key, key)
    close(state.write_value, value)


def test_the_output_may_have_another_size():
    core, xs = build(output_size=7), inputs(2)
    assert core.output_size == 7 and run(core, xs)[0].shape[-1] == 7


# What it refuses


@pytest.mark.parametrize(
    "options, message",
    [
        ({"slots": 0}, "slots=0, want at least 1"),
        ({"slot_size": 0}, "slot_size=0, want at least 1"),
        ({"heads": 0}, "heads=0, want at least 1"),
        ({"output_size": 0}, "output_size=0, want at least 1"),
        (
            {"controller": lambda size: GRU(6, H)},
            "input_size=6, want x 2 \\+ read 6 = 8; pass a factory",
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_an_option_out_of_range_is_refused(options, message):
    sizes = {"controller": partial(GRU, hidden_size=H), "slot_size": WIDTH, "heads": HEADS}
    with unchecked(), pytest.raises(ValueError, match=message):
        DNC(D, **{**sizes, **options})
