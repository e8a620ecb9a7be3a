"""Attention of some rows to others, by several heads.

Shapes: W width of a row, Q rows that attend, R rows that are attended to.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn


class MultiHeadAttention(nn.Module):
    """Scaled dot-product attention of several heads, without a map of their concatenated results.

    Args:
        width: W.
        heads: number of heads.
        size: numbers of a query, a key and a value of each head.
        bias: whether the maps to queries, keys and values have biases.

    Source: Vaswani et al. 2017 (arXiv:1706.03762), section 3.2.
    """

    def __init__(self, width: int, heads: int, size: int, bias: bool = False):
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(width, heads * size, bias=bias) for _ in range(3))

    def forward(
        self,
        rows: Float[Tensor, "*B Q W"],
        others: Float[Tensor, "*B R W"],
        visible: Bool[Tensor, "*B R"] | None = None,
    ) -> tuple[Float[Tensor, "*B Q size"], Float[Tensor, "*B Q R"]]:
        """What the rows read, heads concatenated; and the weights, mean over heads.

        Args:
            rows: the rows that attend.
            others: the rows that are attended to.
            visible: which of these; at least one; None: all.
        """
        query, key, value = (
            layer(part).unflatten(-1, (self.heads, -1)).movedim(-2, -3)
            for layer, part in ((self.query, rows), (self.key, others), (self.value, others))
        )
        scores = query @ key.mT * key.shape[-1] ** -0.5
        if visible is not None:
            scores = scores.masked_fill(~visible[..., None, None, :], -torch.inf)
        weights = torch.softmax(scores, -1)
        return (weights @ value).movedim(-3, -2).flatten(-2), weights.mean(-3)
