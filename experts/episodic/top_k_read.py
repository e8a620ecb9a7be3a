"""How rows are found and read: similarity, the best of it, the weights it gives; each with its gradient written out.

Shapes: S stores, C capacity, R rows of a window, M queries a store, K key, V value, k rows read.
"""

import sys
from collections.abc import Callable
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

ALL_ROWS = sys.maxsize  # a top_k: every row, however many there come to be
MAX_SCORES = 1 << 22  # similarities held at once, at most: larger stores are searched chunk by chunk
DENSE_FACTOR = 4  # a window of so many times the rows found, or less, is read as a whole
DISTANCE_EPS = 1e-3  # added to a squared distance before it is inverted (Pritzel et al. 2017, eq. 5)


def _softmax(scores: Tensor, valid: Tensor | None) -> Tensor:
    weights = torch.softmax(scores, -1)
    return weights if valid is None else weights * valid


def _softmax_grad(grad: Tensor, weights: Tensor, scores: Tensor, valid: Tensor | None) -> Tensor:
    return weights * (grad - (weights * grad).sum(-1, keepdim=True))


def _raw(scores: Tensor, valid: Tensor | None) -> Tensor:
    return scores if valid is None else scores.masked_fill(~valid, 0)


def _raw_grad(grad: Tensor, weights: Tensor, scores: Tensor, valid: Tensor | None) -> Tensor:
    return grad if valid is None else grad * valid


def _inverse(scores: Tensor, valid: Tensor | None) -> Tensor:
    nearness = 1 / (DISTANCE_EPS - scores)
    if valid is not None:
        nearness = nearness * valid
    total = nearness.sum(-1, keepdim=True)
    return nearness / torch.where(total > 0, total, 1)


def _inverse_grad(grad: Tensor, weights: Tensor, scores: Tensor, valid: Tensor | None) -> Tensor:
    return _softmax_grad(grad, weights, scores, valid) / (DISTANCE_EPS - scores)


WEIGHTINGS: dict[str, tuple[Callable[..., Tensor], Callable[..., Tensor]]] = {
    "softmax": (_softmax, _softmax_grad),
    "similarity": (_raw, _raw_grad),
    "inverse_distance": (_inverse, _inverse_grad),
}


class TopKAttention(NamedTuple):
    """How a log is read: the `top_k` rows most similar to the query, summed with the weights that `weighting` gives.

    top_k: `ALL_ROWS` for all rows. distance: similarity is minus the squared distance; else the dot product.
    """

    top_k: int
    distance: bool
    weighting: str

    @property
    def needs_scores(self) -> bool:
        """Whether `backward` looks at them."""
        return self.weighting == "inverse_distance"

    def read(
        self, query: Tensor, keys: Tensor, values: Tensor, lo: int, end: int, valid: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Reads rows lo to end of the storage: (S, M, V); places from lo on, scores and weights (S, M, <= top_k).

        A place of -1 stands for no row. valid (S, end - lo): which rows count; None: all.
        """
        scores, found = self.search(query, keys, lo, end, valid)
        weights = self.weights(scores, found)
        return found.weighted_sum(values, weights), found.index, scores, weights

    def search(self, query: Tensor, keys: Tensor, lo: int, end: int, valid: Tensor | None) -> tuple[Tensor, "TopKRows"]:
        """The rows that `read` reads, and their scores (S, M, <= top_k)."""
        scores, index = best_rows(query, keys[:, lo:end], valid, self)
        found = TopKRows(index, lo, end, keys.shape[1], valid is not None)
        if self.distance:  # again, without the cancellation
            exact = -(query.unsqueeze(-2) - found.gather(keys)).square().sum(-1)
            scores = exact if found.valid is None else torch.where(found.valid, exact, scores)
        return scores, found

    def weights(self, scores: Tensor, found: "TopKRows") -> Tensor:
        return WEIGHTINGS[self.weighting][0](scores, found.valid)

    def backward(
        self,
        grad: Tensor,
        query: Tensor,
        found: "TopKRows",
        scores: Tensor,
        weights: Tensor,
        storage: tuple[Tensor, Tensor],
        grads: tuple[Tensor, Tensor],
    ) -> Tensor:
        """From the gradient of what was read, that of the query; those of keys and values are added to `grads`."""
        (keys, values), (to_keys, to_values) = storage, grads
        to_weights = found.dot(values, grad)
        to_scores = WEIGHTINGS[self.weighting][1](to_weights, weights, scores, found.valid)
        found.scatter_add_outer(to_values, weights, grad)
        if self.distance:
            away = 2 * to_scores.unsqueeze(-1) * (query.unsqueeze(-2) - found.gather(keys))
            found.scatter_add(to_keys, away)
            return -away.sum(-2)
        found.scatter_add_outer(to_keys, to_scores, query)
        return found.weighted_sum(keys, to_scores)


def best_rows(query: Tensor, keys: Tensor, valid: Tensor | None, attend: TopKAttention) -> tuple[Tensor, Tensor]:
    """The rows most similar to each query, exactly: similarity and place (S, M, min(top_k, R)), in no order.

    query (S, M, K), keys (S, R, K), valid (S, R) or None for all. A place of -1 stands for no row. Of two chunks the
    best are the best of both's best, so that no more than some `MAX_SCORES` similarities are held.
    """
    stores, size = keys.shape[:2]
    chunk = max(attend.top_k, MAX_SCORES // max(1, stores * query.shape[1]))
    best, index = _best(query, keys[:, :chunk], None if valid is None else valid[:, :chunk], attend)
    for lo in range(chunk, size, chunk):
        part = slice(lo, lo + chunk)
        more, places = _best(query, keys[:, part], None if valid is None else valid[:, part], attend)
        best, order = torch.cat([best, more], -1).topk(min(attend.top_k, lo + more.shape[-1]), -1, sorted=False)
        index = torch.cat([index, torch.where(places < 0, places, places + lo)], -1).gather(-1, order)
    return best, index


def _best(query: Tensor, keys: Tensor, valid: Tensor | None, attend: TopKAttention) -> tuple[Tensor, Tensor]:
    scores = query @ keys.mT  # (S, M, R)
    if attend.distance:
        scores = 2 * scores - keys.square().sum(-1).unsqueeze(1)  # + |q|^2: the same order
    lowest = torch.finfo(scores.dtype).min
    if valid is not None:
        scores = scores.masked_fill(~valid.unsqueeze(1), lowest)
    if scores.shape[-1] <= attend.top_k:
        best, index = scores, torch.arange(scores.shape[-1], device=scores.device).expand(scores.shape)
    else:
        best, index = scores.topk(attend.top_k, -1, sorted=False)
    return best, index if valid is None else torch.where(best > lowest, index, -1)


class TopKRows:
    """Rows that were found in a window: the products of a read and of its gradient, over these rows alone or, where the
    window is small, over all of it with zeros for the rest, which needs no copies of rows.

    index (S, M, k): places from lo on, -1 for none where `partial`, and a weight of 0. lo, end: the window.
    """

    def __init__(self, index: Tensor, lo: int, end: int, capacity: int, partial: bool):
        self.index, self.lo, self.size, self.capacity = index, lo, end - lo, capacity
        self.all, self.dense = self.size == index.shape[-1], self.size <= DENSE_FACTOR * index.shape[-1]
        self.valid = index >= 0 if partial else None  # which places are rows; None: all
        self.safe_index = index.clamp(min=0) if partial else index

    def weighted_sum(self, data: Tensor, weights: Tensor) -> Tensor:
        """(S, C, W), (S, M, k) -> (S, M, W): the weighted sum of rows."""
        if self.dense:
            return self._spread(weights) @ data.narrow(1, self.lo, self.size)
        return (weights.unsqueeze(-2) @ self.gather(data)).squeeze(-2)

    def dot(self, data: Tensor, vectors: Tensor) -> Tensor:
        """(S, C, W), (S, M, W) -> (S, M, k): products of a vector and each of its rows."""
        if self.dense:
            products = vectors @ data.narrow(1, self.lo, self.size).mT
            return products if self.all else products.gather(-1, self.safe_index)
        return (self.gather(data) @ vectors.unsqueeze(-1)).squeeze(-1)

    def scatter_add_outer(self, grad: Tensor, weights: Tensor, vectors: Tensor) -> None:
        """Adds to the rows their vector, so often as the weights (S, M, k) say; the transpose of `weighted_sum`."""
        if not self.dense:
            self.scatter_add(grad, weights.unsqueeze(-1) * vectors.unsqueeze(-2))
        else:
            spread = self._spread(weights).mT  # (S, R, M)
            grad.narrow(1, self.lo, self.size).add_(spread * vectors if vectors.shape[1] == 1 else spread @ vectors)

    def scatter_add(self, grad: Tensor, rows: Tensor) -> None:
        """Adds (S, M, k, W) to the rows of (S, C, W)."""
        width = grad.shape[-1]
        grad.view(-1, width).index_add_(0, self.rows, rows.reshape(-1, width))

    def gather(self, data: Tensor) -> Tensor:
        """(S, C, W) -> (S, M, k, W)"""
        picked = data.reshape(-1, data.shape[-1]).index_select(0, self.rows)
        return picked.view(*self.index.shape, data.shape[-1])

    def _spread(self, weights: Tensor) -> Tensor:
        """(S, M, k) -> (S, M, R)"""
        if self.all:
            return weights
        return weights.new_zeros(*weights.shape[:2], self.size).scatter_add(-1, self.safe_index, weights)

    @cached_property
    def rows(self) -> Tensor:
        """Places as rows of all stores' storage, (S M k,)."""
        capacity = max(self.capacity, 1)  # an empty log has none
        first = torch.arange(
            self.lo, self.lo + len(self.safe_index) * capacity, capacity, device=self.safe_index.device
        )
        return (self.safe_index + first.view(-1, 1, 1)).flatten()
