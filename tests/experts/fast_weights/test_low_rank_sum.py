"""A sum of outer products that are not multiplied out is the matrix that they make, and so are its gradients."""

import weakref

import pytest
import torch
from torch import Tensor

from badger.testing.contract import close
from badger.testing.core.cases import grads, noise
from experts import state as states
from experts.fast_weights.low_rank_sum import MAX_RANK, LowRankSum

B, N, IN, OUT = 2, 2, 3, 4
S = B * N
STEPS = 2 * MAX_RANK + 3


def inputs(steps: int = STEPS) -> list[Tensor]:
    """The matrix at first, alpha, and of each step what goes through, what is added, and what fades."""
    shapes = [(B, N, IN, OUT), (IN, OUT), (steps, S, 1, IN), (steps, S, 1, IN), (steps, S, 1, OUT), (steps, S, 1, OUT)]
    parts = [noise(*shape, seed=i) for i, shape in enumerate(shapes)]
    parts[-1] = 1 - 0.3 * parts[-1].sigmoid()
    return [part.requires_grad_() for part in parts]


def summed(matrix, alpha, xs, lefts, rights, keeps, change=lambda sums, t: sums):
    sums, ys = LowRankSum.from_dense(matrix), []
    for t in range(len(xs)):
        y, sums = sums.matmul(xs[t], alpha)
        sums = change(sums.add_outer(lefts[t], rights[t], keeps[t]), t)
        ys.append(y)
    return torch.stack(ys) if ys else None, sums


def plainly(matrix, alpha, xs, lefts, rights, keeps):
    m, ys = matrix.flatten(0, 1), []
    for t in range(len(xs)):
        ys.append(xs[t] @ (alpha * m))
        m = m * keeps[t] + lefts[t].mT @ rights[t]
    return torch.stack(ys), m.view(matrix.shape)


def agree(parts, got, want):
    close(got, want)
    for a, b in zip(grads(got, *parts), grads(want, *parts), strict=True):
        close(a, b)


def test_products_and_their_gradients_are_those_of_the_matrix():
    parts = inputs()
    (ys, sums), (want, matrix) = summed(*parts), plainly(*parts)
    agree(parts, ys, want)
    agree(parts, sums.dense(), matrix)


@pytest.mark.parametrize("end", [1, MAX_RANK, MAX_RANK + 2])
def test_a_gradient_that_not_all_steps_give_is_right(end):
    parts = inputs()
    agree(parts, summed(*parts)[0][:end], plainly(*parts)[0][:end])


def test_a_gradient_that_does_not_ask_for_the_matrix_leaves_nothing_behind():
    parts = inputs()
    (ys, _), (want, _) = summed(*parts), plainly(*parts)
    close(grads(ys, parts[2])[0], grads(want, parts[2])[0])
    for _ in range(2):  # and a graph may be walked again
        agree(parts, ys, want)


def test_what_such_a_gradient_has_left_is_freed_with_the_graph():
    parts = inputs()
    ys, sums = summed(*parts)
    grads(ys, parts[2])
    freed = []
    weakref.finalize(sums.cached.buffer, freed.append, True)  # all nodes have it
    del ys, sums
    assert freed


def test_a_branch_changes_nothing():
    parts = inputs()

    def stray(sums, t):
        sums.matmul(parts[2][t], parts[1])[1].add_outer(parts[3][t], parts[4][t] + 1, parts[5][t])
        return sums

    agree(parts, summed(*parts, change=stray)[0], plainly(*parts)[0])


def test_both_branches_give_gradient():
    parts = inputs(steps=3)

    def twice(run):
        first, second = run(*parts)[0], run(parts[0], parts[1], parts[2] * 2, *parts[3:])[0]
        return first + second.square()

    agree(parts, twice(summed), twice(plainly))


def test_alpha_may_change_in_place_between_two_products():
    matrix, alpha, xs, *_ = (part.detach() for part in inputs())
    _, sums = LowRankSum.from_dense(matrix).matmul(xs[0], alpha)
    alpha += 1
    close(sums.matmul(xs[0], alpha)[0], xs[0] @ (alpha * matrix.flatten(0, 1)))


def test_a_gradient_is_there_though_the_first_product_had_none():
    matrix, alpha, xs, *_ = inputs()
    with torch.no_grad():
        _, sums = LowRankSum.from_dense(matrix).matmul(xs[0], alpha)
    y, _ = sums.matmul(xs[0], alpha)
    close(grads(y, alpha)[0], grads(xs[0] @ (alpha * matrix.flatten(0, 1)), alpha)[0])


@pytest.mark.parametrize("steps", [0, 1, MAX_RANK + 1])
def test_rows_of_sums_of_different_length_are_chosen(steps):
    parts = inputs()
    _, old = summed(*parts)
    _, new = summed(*inputs(steps)[:2], *(part[:steps] * 0.5 for part in parts[2:]))
    for mask in (torch.tensor([True, False]), torch.tensor([[True, False], [False, True]])):
        wide = mask.view(*mask.shape, *[1] * (4 - mask.dim()))
        chosen = states.where(mask, new, old)
        close(chosen.dense(), torch.where(wide, new.dense(), old.dense()))


def test_what_is_not_finite_does_not_reach_an_episode_that_begins_anew():
    matrix = noise(B, N, IN, OUT)
    _, old = summed(matrix * torch.nan, *inputs(2)[1:])
    chosen = states.where(torch.tensor([True, False]), LowRankSum.from_dense(matrix), old).dense()
    assert chosen[0].isfinite().all() and chosen[1].isnan().all()


def test_what_was_packed_goes_on_to_the_last_bit():
    parts = [part.detach() for part in inputs()]
    _, sums = summed(*parts)
    active = states.unpack(states.pack(sums), LowRankSum.from_dense(noise(1, 1, IN, OUT)))
    for x, *step in zip(*parts[2:], strict=True):
        (one, sums), (other, active) = (each.matmul(x, parts[1]) for each in (sums, active))
        sums, active = sums.add_outer(*step), active.add_outer(*step)
        assert torch.equal(one, other) and torch.equal(sums.dense(), active.dense())


def test_axes_fold_and_unfold_and_rows_are_picked():
    _, sums = summed(*inputs())
    dense = sums.dense()
    assert torch.equal(states.fold(sums).dense(), dense.flatten(0, 1))
    assert torch.equal(states.unfold(states.fold(sums), N).dense(), dense)
    rows = torch.tensor([1, 1, 0])
    close(states.index(sums, rows).dense(), dense[rows])
    close(states.select_members(sums, rows).dense(), dense[:, rows])


def test_a_packed_state_of_another_kind_is_refused():
    with pytest.raises(ValueError, match="packed matrix: got dict, want a dict with the keys"):
        states.unpack({"rows": []}, LowRankSum.from_dense(noise(1, IN, OUT)))
