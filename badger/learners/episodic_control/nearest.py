"""Exact k-nearest neighbors by brute force, in tiles over the rows so that memory is bounded.

Shapes: N query, C row, K number of a key, k neighbor.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

TILE = 1 << 22
"""Distances that are computed at once, N x rows."""
MARGIN = 8
"""Candidates beyond k, of which the nearest are found again by their exact distances."""


def squared_distances(query: Float[Tensor, "N K"], keys: Float[Tensor, "N k K"]) -> Float[Tensor, "N k"]:
    """Squared Euclidean distances, by differences: 0 exactly where query and key are equal; with gradient to both.

    Args:
        query: the queries.
        keys: some keys for each query.
    """
    return (query.unsqueeze(1) - keys).square().sum(-1)


def nearest_rows(
    query: Float[Tensor, "N K"], keys: Float[Tensor, "C K"], squared_norms: Float[Tensor, " C"], k: int
) -> Int[Tensor, "N k"]:
    """The rows of the k nearest keys, nearest first; of equally near ones that are found, those with lower indices.

    Candidates, `MARGIN` more than k, are chosen by |key|^2 - 2 query key, one matrix product, and sorted by their exact
    distances. Which of the keys that differ in squared distance by less than some 1e-7 |key|^2 (float32) become
    candidates, rounding decides; of equally near ones any.

    Args:
        query: the queries.
        keys: the keys of all rows.
        squared_norms: of the keys.
        k: number of neighbors, at most C.
    """
    rows, wanted = _candidates(query, keys, squared_norms, min(k + MARGIN, len(keys))), k
    rows = rows.sort(-1).values  # a stable sort by distance then has the lowest rows first
    order = squared_distances(query, keys[rows]).sort(dim=-1, stable=True).indices[:, :wanted]
    return rows.gather(-1, order)


def _candidates(query: Tensor, keys: Tensor, squared_norms: Tensor, k: int) -> Int[Tensor, "N k"]:
    """The rows of the k smallest |key|^2 - 2 query key, in any order."""
    tile = max(k, TILE // max(1, len(query)))
    best, rows = query.new_empty(len(query), 0), torch.empty(len(query), 0, dtype=torch.long, device=query.device)
    for start in range(0, len(keys), tile):
        end = start + tile
        scores = torch.addmm(squared_norms[start:end].unsqueeze(0), query, keys[start:end].mT, alpha=-2)
        score, row = scores.topk(min(k, scores.shape[1]), largest=False)
        best, rows = torch.cat([best, score], -1), torch.cat([rows, row + start], -1)
        if best.shape[1] > k:
            best, order = best.topk(k, largest=False)
            rows = rows.gather(-1, order)
    return rows
