"""Decaying sum of outer products as a matrix plus a low-rank term, which is materialized every few steps.

A step of a fast-weight memory that adds an outer product to a D x D matrix reads and writes the whole matrix. A product
with the sum of a matrix and a few outer products does not need the sum: x (M + l^T r) = x M + (x l^T) r. The last
`MAX_RANK` outer products are therefore stored as vectors, and M is constant for that many steps: the chunkwise form of
linear attention (Yang et al. 2024, arXiv:2406.06484), one step at a time.

Shapes: S stores, I and J sides of the matrix, rank outer products of the low-rank term.
"""

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import pad

from experts.fast_weights import plastic_kernels as kernels
from experts.fast_weights.deferred_matmul import CachedProduct, LowRankMatrix
from experts.state import Leaf, expand_mask
from experts.torch_internals import not_compiled

MAX_RANK = 8  # maximal number of outer products; more would cost more than they save


class LowRankSum(Leaf):
    """Decaying sum of outer products as a leaf of a state.

    Args:
        parts: matrix, decay and outer products.
        lead: the axes of its stores, (B,) or (B, N).
        cached: alpha * M of the last product; None: none.
    """

    def __init__(self, parts: LowRankMatrix, lead: tuple[int, ...], cached: CachedProduct | None = None):
        self.parts, self.lead, self.cached = parts, lead, cached

    @classmethod
    def from_dense(cls, matrix: Float[Tensor, "*lead I J"]) -> "LowRankSum":
        """The sum with this initial matrix."""
        *lead, i, j = matrix.shape
        return cls(_from_matrix(matrix.reshape(-1, i, j)), tuple(lead))

    def dense(self) -> Float[Tensor, "*lead I J"]:
        """The sum as one matrix."""
        matrix = self.parts.materialize() if self.parts.left.shape[1] else self.parts.matrix
        return matrix.view(*self.lead, *matrix.shape[1:])

    @not_compiled
    def matmul(
        self, x: Float[Tensor, "S 1 I"], alpha: Float[Tensor, "I J"]
    ) -> tuple[Float[Tensor, "S 1 J"], "LowRankSum"]:
        """x (alpha * matrix), and this sum with a cached alpha * M; or, by a kernel, with as few outer products."""
        parts, cached = self.parts, self.cached
        if cached is None and kernels.usable_without_graph(x, alpha, parts.matrix):
            y, dense = kernels.low_rank_matmul(x, alpha, parts)
            return y, self if dense is None else LowRankSum(_from_matrix(dense), self.lead)
        if cached is None or not cached.is_valid_for(alpha):
            cached = CachedProduct(_from_matrix(parts.matrix), alpha)
            parts = parts._replace(matrix=cached.matrix)
        _, keep, left, right = parts
        y = cached.matmul(x) * keep
        if left.shape[1]:
            y = y + (((x * left) @ alpha) * right).sum(1, keepdim=True)
        return y, LowRankSum(parts, self.lead, cached)

    @not_compiled
    def add_outer(
        self, left: Float[Tensor, "S q I"], right: Float[Tensor, "S q J"], keep: Float[Tensor, "S 1 J"]
    ) -> "LowRankSum":
        """The sum matrix * keep + left^T right."""
        matrix, decay, lefts, rights = self.parts
        parts = LowRankMatrix(matrix, decay * keep, torch.cat([lefts, left], 1), torch.cat([rights * keep, right], 1))
        materialized_by_matmul = self.cached is None and kernels.usable_without_graph(left, lefts)
        if parts.left.shape[1] < MAX_RANK + materialized_by_matmul:
            return LowRankSum(parts, self.lead, self.cached)
        if self.cached is None or not self.cached.is_valid_for(self.cached.alpha):
            return LowRankSum(_from_matrix(parts.materialize()), self.lead)
        cached = CachedProduct(parts, self.cached.alpha, self.cached)
        return LowRankSum(_from_matrix(cached.matrix), self.lead, cached)

    def _with_parts(self, parts: Any, lead: tuple[int, ...] | None = None) -> "LowRankSum":
        return LowRankSum(LowRankMatrix(*parts), self.lead if lead is None else lead)

    def detach(self) -> "LowRankSum":
        return self._with_parts(part.detach() for part in self.parts)

    def where(self, mask: Bool[Tensor, "..."], initial: Leaf) -> "LowRankSum":
        assert isinstance(initial, LowRankSum)
        mask = expand_mask(mask, len(self.lead)).expand(self.lead).reshape(-1, 1, 1)
        rank = max(initial.parts.left.shape[1], self.parts.left.shape[1])
        pairs = zip(_padded(initial.parts, rank), _padded(self.parts, rank), strict=True)
        return self._with_parts(torch.where(mask, new, old) for new, old in pairs)

    def index(self, rows: Tensor, axis: int = 0) -> "LowRankSum":
        lead = list(self.lead)
        lead[axis] = len(rows)
        selected = (
            part.unflatten(0, self.lead).index_select(axis, rows).flatten(0, len(lead) - 1) for part in self.parts
        )
        return self._with_parts(selected, tuple(lead))

    def fold(self) -> "LowRankSum":
        return LowRankSum(self.parts, (self.lead[0] * self.lead[1], *self.lead[2:]), self.cached)

    def unfold(self, n: int) -> "LowRankSum":
        return LowRankSum(self.parts, (self.lead[0] // n, n, *self.lead[1:]), self.cached)

    def pack(self) -> dict[str, Any]:
        return {"lead": list(self.lead), **{name: part.detach().clone() for name, part in self.parts._asdict().items()}}

    def unpack(self, packed: dict[str, Any]) -> "LowRankSum":
        keys = {"lead", *LowRankMatrix._fields}
        if not isinstance(packed, dict) or set(packed) != keys:
            raise ValueError(
                f"packed matrix: got {type(packed).__name__}, want a dict with the keys {', '.join(sorted(keys))}; "
                "unpack it with the initial state of the core that packed it"
            )
        return LowRankSum(LowRankMatrix(*(packed[name] for name in LowRankMatrix._fields)), tuple(packed["lead"]))


def _from_matrix(matrix: Tensor) -> LowRankMatrix:
    """The matrix without outer products."""
    stores, i, j = matrix.shape
    return LowRankMatrix(
        matrix, matrix.new_ones(stores, 1, j), matrix.new_zeros(stores, 0, i), matrix.new_zeros(stores, 0, j)
    )


def _padded(parts: LowRankMatrix, rank: int) -> LowRankMatrix:
    """Pads the outer products with zeros to `rank`."""
    padding = rank - parts.left.shape[1]
    return parts._replace(left=pad(parts.left, (0, 0, padding, 0)), right=pad(parts.right, (0, 0, padding, 0)))
