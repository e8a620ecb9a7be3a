"""Sparse access memory: equal to a dense oracle, with gradients, branches and resets."""

from functools import partial

import numpy as np
import pytest
import torch

from experts import LSTM, SAM, Private
from experts import state as states
from experts.sparse import autograd
from experts.sparse import slots as slots_module
from experts.sparse.search import smallest, top_k
from oracles_sparse import sam

T, B, N, D, H = 12, 2, 2, 3, 6


def make(seed=0, **options):
    torch.manual_seed(seed)
    sizes = {"slots": 12, "slot_size": 4, "heads": 2, "top_k": 3} | options
    return SAM(D, partial(LSTM, hidden_size=H), **sizes).double()


def noise(*shape, seed=1):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def play(core, xs, reset=None, present=None, state=None):
    state = core.initial_state(xs[0]) if state is None else state
    ys = []
    for t, x in enumerate(xs):
        if reset is not None:
            state = states.where(reset[t], core.initial_state(x), state)
        y, state = core(x, state, None if present is None else present[t])
        ys.append(y)
    return torch.stack(ys), state


@pytest.mark.parametrize("k", [12, 3], ids=["all slots are read", "three slots are read"])
def test_reads_and_memory_equal_the_dense_oracle(k):
    core, xs = make(top_k=k), noise(2 * T, 1, 1, D)
    # with few slots read, from where all have content: which of several slots of zeros are read is open
    state = core.initial_state(xs[0]) if k == 12 else play(core, xs[:T])[1]
    slots, reads, hidden = state.slots, [], []
    read = core.read_weights(state)  # the mean over heads
    previous = torch.zeros(2, 12, dtype=torch.float64).scatter(1, state.read_index[0, 0], state.read_strengths[0, 0])
    torch.testing.assert_close(previous.mean(0), read[0, 0])
    start = slots.content()[0], slots.version.restored().stamp[0].argsort().argsort(), previous
    start = tuple(part.detach().numpy().copy() for part in start)
    for x in xs[T:]:
        h, _ = core.controller(torch.cat([x, state.read], -1), state.controller)
        hidden.append(h[0, 0].detach().numpy())
        _, state = core(x, state)
        reads.append(state.read.detach().numpy().reshape(2, 4))
    weights = {name: p.detach().numpy() for name, p in core.named_parameters()}
    want, memory = sam(weights, hidden, slots=12, heads=2, top_k=k, threshold=core.threshold, start=start)
    np.testing.assert_allclose(reads, want, atol=1e-12)
    np.testing.assert_allclose(state.slots.content()[0].detach().numpy(), memory, atol=1e-12)


def cases():
    reset = noise(T, B, seed=2) > 0.8
    present = noise(T, B, N, seed=3) > -0.5
    return {
        "plain": {},
        "with resets": {"reset": reset},
        "with absent members": {"present": present},
        "with both": {"reset": reset, "present": present},
    }


@pytest.mark.parametrize("mapped", [1, autograd.MAPPED], ids=["mapped zeros", "written zeros"])
@pytest.mark.parametrize("case", cases())
def test_the_backward_pass_equals_autograd_through_copies(case, mapped, monkeypatch):
    monkeypatch.setattr(autograd, "MAPPED", mapped)
    core, xs = make(), noise(T, B, N, D).requires_grad_()

    def gradients():
        ys, state = play(core, xs, **cases()[case])
        loss = (ys * noise(*ys.shape, seed=4)).sum() + state.slots.content().square().sum()
        return ys, *torch.autograd.grad(loss, [xs, *core.parameters()])

    fast = gradients()
    monkeypatch.setattr(slots_module, "functorch_active", lambda: True)
    for got, want in zip(fast, gradients(), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-12)


def test_an_old_state_is_restored_bit_for_bit():
    core, xs = make(), noise(T, B, N, D)
    state, kept = core.initial_state(xs[0]), []
    for t, x in enumerate(xs):
        if t == 5:
            state = states.where(torch.tensor([True, False]), core.initial_state(x), state)
        kept.append((state, [part.clone() for part in state.slots.version.restored().tensors]))
        _, state = core(x, state)
    for old, arrays in kept:
        assert old.slots.version.arrays is None  # overwritten since
        for got, want in zip(old.slots.version.restored().tensors, arrays, strict=True):
            assert torch.equal(got, want)


def test_a_state_that_nobody_keeps_is_freed():
    core, xs = make(), noise(T, B, N, D)
    with torch.no_grad():
        _, state = play(core, xs)
    assert state.slots.version.next is None and state.slots.version.undo == []


def test_gradients_of_two_branches_add_up():
    core, xs = make(), noise(T, B, N, D).requires_grad_()
    _, state = play(core, xs[:6])
    first, second = (play(core, part, state=state)[0].square().sum() for part in (xs[6:9], xs[9:]))
    (both,) = torch.autograd.grad(first + second, xs, retain_graph=True)
    one, other = (torch.autograd.grad(loss, xs, retain_graph=True)[0] for loss in (first, second))
    torch.testing.assert_close(both, one + other, rtol=1e-10, atol=1e-12)


def test_seeds_as_a_mapped_axis_equal_each_alone():
    core, xs = Private(make()), noise(3, T, B, N, D)
    mapped = torch.func.vmap(lambda part: play(core, part)[0])(xs)
    for got, part in zip(mapped, xs, strict=True):
        torch.testing.assert_close(got, play(core, part)[0], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.long])
def test_two_passes_find_the_largest_numbers_of_a_long_column(dtype):
    values = torch.randperm(2 * 70_001 * 2, generator=torch.Generator().manual_seed(0)).view(2, -1, 2).to(dtype)
    assert torch.equal(top_k(values, 5).sort(-1).values, values.mT.topk(5).indices.sort(-1).values)


def test_minima_of_parts_find_the_smallest_numbers_of_a_long_row():
    values = torch.stack([torch.randperm(70_001, generator=torch.Generator().manual_seed(s)) for s in (0, 1)])
    values[0, -1] -= 70_001  # the last one, in no part
    assert torch.equal(smallest(values, 5).sort().values, values.topk(5, largest=False).indices.sort().values)


def test_second_derivatives_are_refused_in_words():
    core, xs = make(), noise(2, B, N, D).requires_grad_()
    with pytest.raises(RuntimeError, match=r"A sparse memory \(SAM, SDNC\).* has no second derivatives"):
        torch.autograd.grad(play(core, xs)[0].sum(), xs, create_graph=True)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"slots": 2}, "top_k=3, want at most the number of slots, 2"),
        ({"threshold": -1.0}, "threshold=-1.0, want at least 0"),
        ({"heads": 0}, "heads=0, want at least 1"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)


def test_more_writers_than_slots_are_refused():
    core = make(slots=3)
    with pytest.raises(ValueError, match="slots=3: 2 members with 2 heads erase 4 slots in a step"):
        core(noise(B, N, D), core.initial_state(noise(B, N, D)))
