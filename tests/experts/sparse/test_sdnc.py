"""The sparse differentiable neural computer: links equal the dense ones, gradients those through copies."""

from functools import partial

import numpy as np
import pytest
import torch

from experts import LSTM, SDNC
from experts import state as states
from experts.sparse import slots as slots_module
from experts.sparse.links import AFTER, BEFORE, moved, strongest

T, B, N, D, H, R = 10, 2, 2, 3, 6, 9


def make(**options):
    torch.manual_seed(0)
    sizes = {"slots": R, "slot_size": 4, "heads": 2, "top_k": 2, "links": R} | options
    return SDNC(D, partial(LSTM, hidden_size=H), **sizes).double()


def noise(*shape, seed=1):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def play(core, xs, reset=None):
    state, ys = core.initial_state(xs[0]), []
    for t, x in enumerate(xs):
        if reset is not None:
            state = states.where(reset[t], core.initial_state(x), state)
        y, state = core(x, state)
        ys.append(y)
    return torch.stack(ys), state


def dense(rows, weights):
    """(R, R) from slots and weights (R, L)."""
    table = np.zeros((R, R))
    for i in range(R):
        np.add.at(table[i], rows[i], weights[i])
    return table


def test_links_that_keep_all_slots_equal_the_dense_ones():
    core, xs = make(), noise(T, 1, 1, D)
    after, precedence, state = np.zeros((R, R)), np.zeros(R), core.initial_state(xs[0])
    with torch.no_grad():
        for x in xs:
            _, state = core(x, state)
            w = core.write_weights(state)[0, 0].clamp(max=1).numpy()
            after = (1 - w)[:, None] * after + w[:, None] * precedence
            precedence = max(0, 1 - w.sum()) * precedence + w
            links = [part[0].numpy() for part in state.slots.version.restored().links]
            np.testing.assert_allclose(dense(links[0], links[1]), after, atol=1e-12)
            np.testing.assert_allclose(dense(links[2], links[3]), after.T, atol=1e-12)
    assert after.max() > 0.01


def test_a_move_along_the_links_is_a_product_with_them():
    core, xs = make(), noise(T, 1, 1, D)
    with torch.no_grad():
        _, state = play(core, xs)
    arrays = state.slots.version.restored()
    after = dense(arrays.links[0][0].numpy(), arrays.links[1][0].numpy())
    read = core.read_weights(state)[0].numpy()
    rows, weights = state.read_index.flatten(1, 2).flatten(1)[None], state.read_strengths.flatten(1)[None] / 2
    for first, matrix in ((BEFORE, after), (AFTER, after.T)):
        slots, got = moved(arrays, first, rows, weights, R)
        want = np.zeros(R)
        np.add.at(want, slots[0, 0].numpy(), got[0, 0].numpy())
        np.testing.assert_allclose(want, matrix @ read[0], atol=1e-12)


def test_the_strongest_slots_are_summed_once_each():
    rows, weights = torch.tensor([[3, 1, 3, 0]]), torch.tensor([[0.2, 0.3, 0.2, 0.1]])
    slots, sums = strongest(rows, weights, 2)
    assert slots.tolist() == [[3, 1]] and torch.allclose(sums, torch.tensor([[0.4, 0.3]]))
    assert strongest(rows, weights, 6)[1].count_nonzero() == 3


@pytest.mark.parametrize("resets", [False, True])
def test_the_backward_pass_equals_autograd_through_copies(resets, monkeypatch):
    core, xs = make(links=3), noise(T, B, N, D).requires_grad_()
    reset = noise(T, B, seed=2) > 0.8 if resets else None

    def gradients():
        ys, state = play(core, xs, reset)
        loss = (ys * noise(*ys.shape, seed=4)).sum() + state.slots.content().square().sum()
        return ys, *torch.autograd.grad(loss, [xs, *core.parameters()])

    fast = gradients()
    monkeypatch.setattr(slots_module, "functorch_active", lambda: True)
    for got, want in zip(fast, gradients(), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-12)


def test_an_old_state_is_restored_bit_for_bit_with_its_links():
    core, xs = make(links=3), noise(T, B, N, D)
    state, kept = core.initial_state(xs[0]), []
    for x in xs:
        kept.append((state, [part.clone() for part in state.slots.version.restored().tensors]))
        _, state = core(x, state)
    for old, arrays in kept:
        for got, want in zip(old.slots.version.restored().tensors, arrays, strict=True):
            assert torch.equal(got, want)


def test_more_members_than_slots_are_refused():
    core = make(slots=3, links=2)
    x = noise(B, 4, D)
    with pytest.raises(ValueError, match="slots=3: 4 members erase one each in a step"):
        core(x, core.initial_state(x))
