"""Sparse temporal links between slots: which slot was written after which (Rae et al. 2016, supplementary D).

The dense links of a DNC are N(i, j), the degree to which slot i was written right after slot j, and P, its transpose:

    N(i, j) = (1 - w(i)) N(i, j) + w(i) p(j)        P(i, j) = (1 - w(j)) P(i, j) + w(j) p(i)
    p = (1 - sum w) p + w

with the write weights w and the precedence p before the write. Each row keeps its `links` largest entries, and so does
p. A read head moves forward by N w_read, which sums columns of N, that is rows of P; and backward by P w_read, rows of
N. No gradient passes through links. All entries of a column j of P lie in the rows i of the entries of row j of N.

Shapes: S stores, R slots, J slots written, n slots, L links of a slot, K slots of a result.
"""

import torch
from torch import Tensor

from experts.sparse.arrays import Arrays, Ops, Undo, keep, take, wide

AFTER, AFTER_WEIGHTS, BEFORE, BEFORE_WEIGHTS = 0, 1, 2, 3
"""Of `Arrays.links`: row i of N as slots j and N(i, j); row i of P as slots j and P(i, j)."""

LEVELS = 1e4  # logarithms to base 2 of weights are rounded to 1 / LEVELS


def no_links(like: Tensor, batch: int, slots: int, links: int) -> tuple[Tensor, ...]:
    """Links of weight 0, `Arrays.links` of an empty memory.

    Args:
        like: gives dtype and device.
        batch: S.
        slots: R.
        links: L.
    """
    weights = like.new_zeros(batch, slots, links)
    rows = torch.zeros_like(weights, dtype=torch.long)
    return rows, weights, rows.clone(), weights.clone()


def strongest(rows: Tensor, weights: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k slots with the largest sums of weights, (..., k) each; a slot that stands several times is summed.

    Where there are fewer than k, others follow with weight 0. Sums that are equal but for rounding keep their order,
    so that which of them are found does not depend on the batch.

    Args:
        rows: (..., n) slots.
        weights: (..., n), at least 0.
        k: number of slots.
    """
    same = (rows.unsqueeze(-1) == rows.unsqueeze(-2)).to(weights.dtype)  # (..., n, n)
    first = same.tril(-1).amax(-1) == 0
    sums = torch.where(first, (same @ weights.unsqueeze(-1)).squeeze(-1), 0)
    missing = k - rows.shape[-1]
    if missing > 0:
        rows, sums = (torch.cat([part, part.new_zeros(*part.shape[:-1], missing)], -1) for part in (rows, sums))
    best = (sums.log2() * LEVELS).round().sort(dim=-1, descending=True, stable=True).indices[..., :k]
    return rows.gather(-1, best), sums.gather(-1, best)


def link(
    ops: Ops,
    arrays: Arrays,
    written: tuple[Tensor, Tensor],
    precedence: tuple[Tensor, Tensor],
    undo: list[Undo],
) -> Arrays:
    """The links after a write.

    Args:
        ops: how the arrays are changed.
        arrays: the slots, none of the written ones stale.
        written: different slots (S, J), and their write weights, from 0 to 1; a weight of 0 changes nothing.
        precedence: p before the write: slots (S, L), and weights.
        undo: notes what is overwritten.
    """
    (rows, weights), (before, before_weights) = written, precedence
    size = before.shape[-1]
    after = take(arrays.links[AFTER], rows), take(arrays.links[AFTER_WEIGHTS], rows)  # N(j, .), (S, J, L)
    arrays = _decay_columns(ops, arrays, rows, weights, after, undo)
    many = (1, rows.shape[1], 1)
    scaled = (
        torch.cat([after[0], before.unsqueeze(1).expand(-1, many[1], -1)], -1),
        torch.cat([(1 - weights).unsqueeze(-1) * after[1], weights.unsqueeze(-1) * before_weights.unsqueeze(1)], -1),
    )
    arrays = _put(ops, arrays, AFTER, rows, strongest(*scaled, size), weights > 0, undo)
    old = take(arrays.links[BEFORE], before), take(arrays.links[BEFORE_WEIGHTS], before)  # P(i, .), i in p, (S, L, L)
    added = (
        torch.cat([old[0], rows.unsqueeze(1).expand(-1, size, -1)], -1),
        torch.cat([old[1], before_weights.unsqueeze(-1) * weights.unsqueeze(1)], -1),
    )
    new_rows, new_weights = strongest(*added, size)
    return _put(ops, arrays, BEFORE, before, (new_rows, new_weights), before_weights > 0, undo)


def _decay_columns(
    ops: Ops, arrays: Arrays, rows: Tensor, weights: Tensor, after: tuple[Tensor, Tensor], undo: list[Undo]
) -> Arrays:
    """P(i, j) times 1 - w(j) for the written slots j, whose rows i are those of N(j, .)."""
    keep(undo, arrays, 3 + BEFORE_WEIGHTS, after[0])
    entries = take(arrays.links[BEFORE], after[0])  # (S, J, L, L): the slots of row i
    hits = (entries == rows[..., None, None]) & (take(arrays.links[BEFORE_WEIGHTS], after[0]) > 0)
    hits = hits & (after[1] > 0).unsqueeze(-1)
    factor = torch.where(hits, 1 - weights[..., None, None], 1).flatten(1, 2)  # (S, J L, L)
    table = arrays.links[BEFORE_WEIGHTS]
    decayed = ops.scatter_reduce(table, 1, wide(after[0], table), factor, "prod")
    return arrays._replace(links=(*arrays.links[:BEFORE_WEIGHTS], decayed))


def _put(
    ops: Ops, arrays: Arrays, first: int, rows: Tensor, content: tuple[Tensor, Tensor], kept: Tensor, undo: list[Undo]
) -> Arrays:
    """Replaces the masked ones of some rows (S, n) of N or P.

    Slots of weight 0 stand for none and may stand several times; so differences are added, which are 0 for them.
    """
    links = list(arrays.links)
    for number, new in zip((first, first + 1), content, strict=True):
        keep(undo, arrays, 3 + number, rows)
        table = links[number]
        difference = torch.where(kept.unsqueeze(-1), new - take(table, rows), 0)
        links[number] = ops.scatter_add(table, 1, wide(rows, table), difference)
    return arrays._replace(links=tuple(links))


def moved(arrays: Arrays, first: int, rows: Tensor, weights: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k slots (S, M, k) with the largest weights after a move along the links, and these weights.

    Args:
        arrays: the slots.
        first: BEFORE: forward, N w, by rows of P; AFTER: backward, P w, by rows of N.
        rows: (S, M, n), slots that were read.
        weights: (S, M, n), of the read.
        k: number of slots.
    """
    linked, strengths = (take(arrays.links[number], rows).flatten(2) for number in (first, first + 1))
    return strongest(linked, strengths * weights.repeat_interleave(arrays.links[first].shape[-1], -1), k)
