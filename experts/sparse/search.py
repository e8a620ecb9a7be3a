"""Exact search in large arrays: the largest numbers of a column in two passes, and the slots nearest to a query.

Shapes: S stores, R slots, W slot size, M queries a store.
"""

import torch
from torch import Tensor

from experts.dnc.addressing import EPS

BLOCK = 512  # numbers whose maximum is compared first
LEVELS = 1e5  # cosines are rounded to 1 / LEVELS
WIDE = 32  # slots side by side in the first maximum
FOLDS = 16  # parts of a row whose minima are compared first
LARGE = 64 * BLOCK  # columns of fewer numbers are searched in one pass


def top_k(values: Tensor, k: int) -> Tensor:
    """Indices (S, M, k) of the k largest numbers of each column, unsorted; equal to `Tensor.topk` but for ties.

    The k largest numbers lie in the k blocks with the largest maxima. So a long column is read once by a maximum, which
    is much quicker than a selection.

    Args:
        values: (S, R, M), integers or real numbers.
        k: at most R.
    """
    size = values.shape[1]
    if size < LARGE or k * BLOCK > size // 4:
        return values.mT.topk(k, -1, sorted=False).indices
    full = size // BLOCK * BLOCK
    blocks = values[:, :full].unflatten(1, (-1, BLOCK))
    # two maxima: the inner axis of the first is wide, as vectors of a processor are
    parts = blocks.flatten(2).unflatten(-1, (-1, WIDE * values.shape[-1])).amax(2)
    maxima = parts.unflatten(-1, (WIDE, -1)).amax(2)
    if full < size:
        maxima = torch.cat([maxima, values[:, full:].amax(1, keepdim=True)], 1)
    best = maxima.mT.topk(k, -1, sorted=False).indices  # (S, M, k) blocks
    rows = (best.unsqueeze(-1) * BLOCK + torch.arange(BLOCK, device=values.device)).flatten(2)
    inside = values.gather(1, rows.clamp(max=size - 1).mT).mT
    info = torch.finfo(values.dtype) if values.is_floating_point() else torch.iinfo(values.dtype)
    winner = inside.masked_fill(rows >= size, info.min).topk(k, -1, sorted=False).indices
    return rows.gather(-1, winner)


def smallest(values: Tensor, k: int) -> Tensor:
    """Indices (S, k) of the k smallest numbers of each row, unsorted.

    The k smallest lie in the k columns with the smallest minima of `FOLDS` parts laid on top of each other, which are
    compared elementwise: torch's minimum of integers along an axis is many times slower.

    Args:
        values: (S, R), different numbers.
        k: at most R.
    """
    part = values.shape[1] // FOLDS
    if values.shape[1] < LARGE or k > part:
        return values.topk(k, -1, largest=False, sorted=False).indices
    folded = values[:, :part].clone()
    for fold in range(1, FOLDS):
        torch.minimum(folded, values[:, fold * part : (fold + 1) * part], out=folded)
    columns = top_k(-folded.unsqueeze(-1), k)  # (S, 1, k)
    steps = part * torch.arange(FOLDS, device=values.device).view(-1, 1)
    rest = torch.arange(FOLDS * part, values.shape[1], device=values.device).expand(len(values), -1)
    rows = torch.cat([(columns + steps).flatten(1), rest], -1)
    return rows.gather(-1, values.gather(-1, rows).topk(k, -1, largest=False, sorted=False).indices)


def nearest(query: Tensor, memory: Tensor, scale: Tensor, k: int, stale: Tensor | None) -> Tensor:
    """Indices (S, M, k) of the slots with the highest cosine similarity to each query.

    A vector that is written to several empty slots makes them parallel, and their cosines equal but for rounding. So
    cosines are rounded before they are compared; which of equal ones are found does not depend on the batch.

    Args:
        query: (S, M, W).
        memory: (S, R, W).
        scale: (S, R), one over the norm of each slot.
        k: at most R.
        stale: (S, R), slots whose content counts as zeros; None: none.
    """
    levels = LEVELS * (query.square().sum(-1, keepdim=True) + EPS).rsqrt()
    scores = memory @ (query * levels).mT  # quicker for few queries than query @ memory.mT
    scores = scores.mul_(scale.unsqueeze(-1)).round_()
    if stale is not None:
        scores = scores.masked_fill(stale.unsqueeze(-1), 0)
    return top_k(scores, k)
