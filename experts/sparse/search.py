"""Exact search in large arrays: the largest numbers of a column in two passes, and the slots nearest to a query.

Shapes: S stores, R slots, W slot size, M queries a store.
"""

import torch
from torch import Tensor
from torch.nn.functional import pad

from experts.dnc.addressing import EPS

BLOCK = 512  # numbers whose maximum is compared first
LEVELS = 1e5  # cosines are rounded to 1 / LEVELS
WIDE = 32  # slots side by side in the first maximum
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
    info = torch.finfo(values.dtype) if values.is_floating_point() else torch.iinfo(values.dtype)
    if size % BLOCK:
        values = pad(values, (0, 0, 0, -size % BLOCK), value=info.min)
    stores, padded, columns = values.shape
    # two maxima: the inner axis of the first is wide, as vectors of a processor are
    maxima = values.reshape(stores, padded // BLOCK, -1, WIDE * columns).amax(2).unflatten(-1, (WIDE, columns)).amax(2)
    best = maxima.mT.topk(k, -1, sorted=False).indices  # (S, M, k) blocks
    rows = (best.unsqueeze(-1) * BLOCK + torch.arange(BLOCK, device=values.device)).flatten(2)
    winner = values.gather(1, rows.mT).mT.topk(k, -1, sorted=False).indices
    return rows.gather(-1, winner)


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
