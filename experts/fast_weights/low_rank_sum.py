"""A matrix that fades and grows by outer products, which are multiplied out only every few steps.

To read and write a D x D matrix for every outer product that is added to it is what a step of a memory made of fast
weights costs. But a product with the sum of a matrix and few outer products needs none of them multiplied out:
x (M + l^T r) = x M + (x l^T) r. So the last `MAX_RANK` are kept as they are, and M is the same for so many steps: the
chunkwise form of linear attention (Yang et al. 2024, arXiv:2406.06484), here one step at a time.

Shapes: S stores, I and J sides of the matrix, p outer products that are not multiplied out.
"""

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import pad

from experts.fast_weights.deferred_matmul import CachedProduct, LowRankMatrix
from experts.state import Leaf, expand_mask
from experts.torch_internals import not_compiled

MAX_RANK = 8  # outer products, at most; with more of them, what they cost is more than what they save


class LowRankSum(Leaf):
    """One moment of such a matrix: a value. lead: the axes of its stores, (B,) or (B, N). cached: alpha * M for the
    products to come, where there was one."""

    def __init__(self, parts: LowRankMatrix, lead: tuple[int, ...], cached: CachedProduct | None = None):
        self.parts, self.lead, self.cached = parts, lead, cached

    @classmethod
    def from_dense(cls, matrix: Float[Tensor, "*lead I J"]) -> "LowRankSum":
        """The matrix, as it begins."""
        *lead, i, j = matrix.shape
        return cls(_from_matrix(matrix.reshape(-1, i, j)), tuple(lead))

    def dense(self) -> Float[Tensor, "*lead I J"]:
        """All multiplied out."""
        matrix = self.parts.materialize() if self.parts.left.shape[1] else self.parts.matrix
        return matrix.view(*self.lead, *matrix.shape[1:])

    @not_compiled
    def matmul(
        self, x: Float[Tensor, "S 1 I"], alpha: Float[Tensor, "I J"]
    ) -> tuple[Float[Tensor, "S 1 J"], "LowRankSum"]:
        """x (alpha * matrix), and self, ready for more of these."""
        parts, held = self.parts, self.cached
        if held is None or not held.is_valid_for(alpha):
            held = CachedProduct(_from_matrix(parts.matrix), alpha)
            parts = parts._replace(matrix=held.matrix)
        _, keep, left, right = parts
        y = held.matmul(x) * keep
        if left.shape[1]:
            y = y + (((x * left) @ alpha) * right).sum(1, keepdim=True)
        return y, LowRankSum(parts, self.lead, held)

    @not_compiled
    def add_outer(
        self, left: Float[Tensor, "S q I"], right: Float[Tensor, "S q J"], keep: Float[Tensor, "S 1 J"]
    ) -> "LowRankSum":
        """matrix * keep + left^T right"""
        matrix, kept, lefts, rights = self.parts
        parts = LowRankMatrix(matrix, kept * keep, torch.cat([lefts, left], 1), torch.cat([rights * keep, right], 1))
        if parts.left.shape[1] < MAX_RANK:
            return LowRankSum(parts, self.lead, self.cached)
        if self.cached is None or not self.cached.is_valid_for(self.cached.alpha):
            return LowRankSum(_from_matrix(parts.materialize()), self.lead)
        held = CachedProduct(parts, self.cached.alpha, self.cached)
        return LowRankSum(_from_matrix(held.matrix), self.lead, held)

    def _changed(self, parts: Any, lead: tuple[int, ...] | None = None) -> "LowRankSum":
        return LowRankSum(LowRankMatrix(*parts), self.lead if lead is None else lead)

    def detach(self) -> "LowRankSum":
        return self._changed(part.detach() for part in self.parts)

    def where(self, mask: Bool[Tensor, "..."], fresh: Leaf) -> "LowRankSum":
        assert isinstance(fresh, LowRankSum)
        mask = expand_mask(mask, len(self.lead)).expand(self.lead).reshape(-1, 1, 1)
        p = max(fresh.parts.left.shape[1], self.parts.left.shape[1])
        pairs = zip(_padded(fresh.parts, p), _padded(self.parts, p), strict=True)
        return self._changed(torch.where(mask, new, old) for new, old in pairs)

    def index(self, rows: Tensor, axis: int = 0) -> "LowRankSum":
        lead = list(self.lead)
        lead[axis] = len(rows)
        each = (part.unflatten(0, self.lead).index_select(axis, rows).flatten(0, len(lead) - 1) for part in self.parts)
        return self._changed(each, tuple(lead))

    def fold(self) -> "LowRankSum":
        return LowRankSum(self.parts, (self.lead[0] * self.lead[1], *self.lead[2:]), self.cached)

    def unfold(self, n: int) -> "LowRankSum":
        return LowRankSum(self.parts, (self.lead[0] // n, n, *self.lead[1:]), self.cached)

    def pack(self) -> dict[str, Any]:
        return {"lead": list(self.lead), **{name: part.detach().clone() for name, part in self.parts._asdict().items()}}

    def unpack(self, packed: dict[str, Any]) -> "LowRankSum":
        wanted = {"lead", *LowRankMatrix._fields}
        if not isinstance(packed, dict) or set(packed) != wanted:
            raise ValueError(f"no packed matrix: got {type(packed).__name__}, want a dict of {', '.join(wanted)}")
        return LowRankSum(LowRankMatrix(*(packed[name] for name in LowRankMatrix._fields)), tuple(packed["lead"]))


def _from_matrix(matrix: Tensor) -> LowRankMatrix:
    """It has not grown yet."""
    stores, i, j = matrix.shape
    return LowRankMatrix(
        matrix, matrix.new_ones(stores, 1, j), matrix.new_zeros(stores, 0, i), matrix.new_zeros(stores, 0, j)
    )


def _padded(parts: LowRankMatrix, p: int) -> LowRankMatrix:
    """With outer products of zeros, so that there are p."""
    void = p - parts.left.shape[1]
    return parts._replace(left=pad(parts.left, (0, 0, void, 0)), right=pad(parts.right, (0, 0, void, 0)))
