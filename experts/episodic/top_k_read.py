"""Top-k attention over stored rows: similarity search, read weights and weighted sums, with hand-written gradients.

Shapes: S stores, C capacity, R rows of a window, M queries a store, K key, V value, k rows read.
"""

import sys
from collections.abc import Callable
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

ALL_ROWS = sys.maxsize  # a value of top_k: read every row
MAX_SCORES = 1 << 22  # maximal number of similarities in memory: larger stores are searched in chunks
DENSE_FACTOR = 4  # a window of at most this many times the rows read is read densely
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
    """Top-k attention: the weighted sum of the `top_k` stored rows whose keys are most similar to the query.

    Args:
        top_k: number of rows read; `ALL_ROWS` for all rows.
        distance: whether the similarity is the negative squared distance; else it is the dot product.
        weighting: read weights from similarities: "softmax", "similarity" or "inverse_distance".
    """

    top_k: int
    distance: bool
    weighting: str

    @property
    def needs_scores(self) -> bool:
        """Whether `backward` reads the scores."""
        return self.weighting == "inverse_distance"

    def read(
        self, query: Tensor, keys: Tensor, values: Tensor, window_start: int, end: int, valid: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Reads rows window_start to end of the storage.

        Args:
            query: (S, M, K).
            keys: (S, C, K).
            values: (S, C, V).
            window_start: first row of the window.
            end: row after the last of the window.
            valid: rows of the window that can be read, (S, end - window_start); None: all.

        Returns:
            The read vectors (S, M, V); and of the rows read, (S, M, <= top_k): indices relative to window_start (-1 for
            no row), scores and weights.
        """
        scores, rows = self.search(query, keys, window_start, end, valid)
        weights = self.weights(scores, rows)
        return rows.weighted_sum(values, weights), rows.index, scores, weights

    def search(
        self, query: Tensor, keys: Tensor, window_start: int, end: int, valid: Tensor | None
    ) -> tuple[Tensor, "TopKRows"]:
        """The most similar rows of the window, and their scores (S, M, <= top_k).

        Args:
            query: (S, M, K).
            keys: (S, C, K).
            window_start: first row of the window.
            end: row after the last of the window.
            valid: rows of the window that can be read, (S, end - window_start); None: all.
        """
        scores, index = best_rows(query, keys[:, window_start:end], valid, self)
        rows = TopKRows(index, window_start, end, keys.shape[1], valid is not None)
        if self.distance:  # computed again, without cancellation errors
            exact = -(query.unsqueeze(-2) - rows.gather(keys)).square().sum(-1)
            scores = exact if rows.valid is None else torch.where(rows.valid, exact, scores)
        return scores, rows

    def weights(self, scores: Tensor, rows: "TopKRows") -> Tensor:
        """Read weights (S, M, k).

        Args:
            scores: similarities of the rows read, (S, M, k).
            rows: the selected rows.
        """
        return WEIGHTINGS[self.weighting][0](scores, rows.valid)

    def backward(
        self,
        grad: Tensor,
        query: Tensor,
        rows: "TopKRows",
        scores: Tensor,
        weights: Tensor,
        storage: tuple[Tensor, Tensor],
        grads: tuple[Tensor, Tensor],
    ) -> Tensor:
        """Backward pass of `read`: returns the gradient of the query, and adds those of keys and values to `grads`.

        Args:
            grad: gradient of the read vectors, (S, M, V).
            query: (S, M, K).
            rows: the selected rows.
            scores: their similarities.
            weights: their read weights.
            storage: keys (S, C, K) and values (S, C, V).
            grads: gradients of keys and values, changed in place.
        """
        (keys, values), (grad_keys, grad_values) = storage, grads
        grad_weights = rows.dot(values, grad)
        grad_scores = WEIGHTINGS[self.weighting][1](grad_weights, weights, scores, rows.valid)
        rows.scatter_add_outer(grad_values, weights, grad)
        if self.distance:
            grad_rows = 2 * grad_scores.unsqueeze(-1) * (query.unsqueeze(-2) - rows.gather(keys))
            rows.scatter_add(grad_keys, grad_rows)
            return -grad_rows.sum(-2)
        rows.scatter_add_outer(grad_keys, grad_scores, query)
        return rows.weighted_sum(keys, grad_scores)


def best_rows(query: Tensor, keys: Tensor, valid: Tensor | None, attend: TopKAttention) -> tuple[Tensor, Tensor]:
    """Exact search for the rows most similar to each query: similarity and index (S, M, min(top_k, R)), unsorted.

    query (S, M, K), keys (S, R, K), valid (S, R) or None for all. An index of -1 stands for no row. Large stores are
    searched in chunks, whose best rows are merged, so that about `MAX_SCORES` similarities are in memory.
    """
    stores, size = keys.shape[:2]
    chunk = max(attend.top_k, MAX_SCORES // max(1, stores * query.shape[1]))
    best, index = _best(query, keys[:, :chunk], None if valid is None else valid[:, :chunk], attend)
    for start in range(chunk, size, chunk):
        part = slice(start, start + chunk)
        scores, chunk_index = _best(query, keys[:, part], None if valid is None else valid[:, part], attend)
        best, order = torch.cat([best, scores], -1).topk(min(attend.top_k, start + scores.shape[-1]), -1, sorted=False)
        index = torch.cat([index, torch.where(chunk_index < 0, chunk_index, chunk_index + start)], -1).gather(-1, order)
    return best, index


def _best(query: Tensor, keys: Tensor, valid: Tensor | None, attend: TopKAttention) -> tuple[Tensor, Tensor]:
    scores = query @ keys.mT  # (S, M, R)
    if attend.distance:
        scores = 2 * scores - keys.square().sum(-1).unsqueeze(1)  # without |q|^2, which does not change the order
    lowest = torch.finfo(scores.dtype).min
    if valid is not None:
        scores = scores.masked_fill(~valid.unsqueeze(1), lowest)
    if scores.shape[-1] <= attend.top_k:
        best, index = scores, torch.arange(scores.shape[-1], device=scores.device).expand(scores.shape)
    else:
        best, index = scores.topk(attend.top_k, -1, sorted=False)
    return best, index if valid is None else torch.where(best > lowest, index, -1)


class TopKRows:
    """Rows of a window selected by a search, and the products of a read and of its gradient with these rows.

    Products gather the selected rows or, where the window is small, use all of it with weights of 0 for the other rows,
    which avoids copies.

    Args:
        index: rows relative to window_start, (S, M, k); -1 for no row, where `partial`.
        window_start: first row of the window.
        end: row after the last of the window.
        capacity: C.
        partial: whether `index` may have -1.
    """

    def __init__(self, index: Tensor, window_start: int, end: int, capacity: int, partial: bool):
        self.index, self.window_start, self.size, self.capacity = index, window_start, end - window_start, capacity
        self.is_full, self.is_dense = self.size == index.shape[-1], self.size <= DENSE_FACTOR * index.shape[-1]
        self.valid = index >= 0 if partial else None  # which indices are rows; None: all
        self.safe_index = index.clamp(min=0) if partial else index

    def weighted_sum(self, data: Tensor, weights: Tensor) -> Tensor:
        """Weighted sum of rows: (S, C, W), (S, M, k) -> (S, M, W)."""
        if self.is_dense:
            return self._dense_weights(weights) @ data.narrow(1, self.window_start, self.size)
        return (weights.unsqueeze(-2) @ self.gather(data)).squeeze(-2)

    def dot(self, data: Tensor, vectors: Tensor) -> Tensor:
        """Dot products of each vector with its rows: (S, C, W), (S, M, W) -> (S, M, k)."""
        if self.is_dense:
            products = vectors @ data.narrow(1, self.window_start, self.size).mT
            return products if self.is_full else products.gather(-1, self.safe_index)
        return (self.gather(data) @ vectors.unsqueeze(-1)).squeeze(-1)

    def scatter_add_outer(self, grad: Tensor, weights: Tensor, vectors: Tensor) -> None:
        """Adds weight times vector to each row, in place; the transpose of `weighted_sum`. weights (S, M, k)."""
        if not self.is_dense:
            self.scatter_add(grad, weights.unsqueeze(-1) * vectors.unsqueeze(-2))
        else:
            dense = self._dense_weights(weights).mT  # (S, R, M)
            grad.narrow(1, self.window_start, self.size).add_(
                dense * vectors if vectors.shape[1] == 1 else dense @ vectors
            )

    def scatter_add(self, grad: Tensor, rows: Tensor) -> None:
        """Adds (S, M, k, W) to the rows of (S, C, W), in place."""
        width = grad.shape[-1]
        grad.view(-1, width).index_add_(0, self.rows, rows.reshape(-1, width))

    def gather(self, data: Tensor) -> Tensor:
        """The selected rows: (S, C, W) -> (S, M, k, W)."""
        gathered = data.reshape(-1, data.shape[-1]).index_select(0, self.rows)
        return gathered.view(*self.index.shape, data.shape[-1])

    def _dense_weights(self, weights: Tensor) -> Tensor:
        """Weights of all rows of the window: (S, M, k) -> (S, M, R)."""
        if self.is_full:
            return weights
        return weights.new_zeros(*weights.shape[:2], self.size).scatter_add(-1, self.safe_index, weights)

    @cached_property
    def rows(self) -> Tensor:
        """Indices into the rows of all stores, (S M k,)."""
        capacity = max(self.capacity, 1)  # an empty log has capacity 0
        first = torch.arange(
            self.window_start,
            self.window_start + len(self.safe_index) * capacity,
            capacity,
            device=self.safe_index.device,
        )
        return (self.safe_index + first.view(-1, 1, 1)).flatten()
