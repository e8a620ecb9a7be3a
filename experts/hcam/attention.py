"""Attention to chunks of the past, and to the steps within the most relevant ones.

Shapes: B episode, N members, T step, P chunk, C step of a chunk, W width, H head, K key, V value.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from experts.attention import sliding_window as band
from experts.attention.gtrxl_layer import sinusoidal_encoding


class ChunkAttention(nn.Module):
    """Attention of steps to chunks: relevance of the K best chunks, attention within each, and their weighted sum.

    `experts.hcam.core.HCAM` has the equations.

    Args:
        width: W.
        chunk_size: C.
        top_k: chunks that are read.
        heads: H, of the attention within a chunk.
        key_size: K, of chunks and of each head.
        value_size: V, of each head.

    Source: Lampinen et al. 2021 (arXiv:2105.14039), section 3.
    """

    places: Tensor  # (C, W)

    def __init__(self, width: int, chunk_size: int, top_k: int, heads: int, key_size: int, value_size: int):
        super().__init__()
        self.top_k, self.heads, self.scale = top_k, heads, key_size**-0.5
        self.chunk_query, self.chunk_key = unbiased_linear(width, key_size), unbiased_linear(width, key_size)
        self.query, self.key = unbiased_linear(width, heads * key_size), unbiased_linear(width, heads * key_size)
        self.value = unbiased_linear(width, heads * value_size)
        self.register_buffer("places", sinusoidal_encoding(chunk_size - 1, width), persistent=False)

    def forward(
        self, contents: Float[Tensor, "B N T W"], chunks: Float[Tensor, "B N P C W"], visible: Bool[Tensor, "B N T P"]
    ) -> tuple[Float[Tensor, "B N T HV"], Float[Tensor, "B N P C"]]:
        """What the steps read, heads concatenated; and the weights of the last step's read, mean over heads.

        Args:
            contents: of the steps that read.
            chunks: of the past.
            visible: the chunks that each step may read; what a step without any reads is 0.
        """
        relevance = self._relevance(contents, chunks.mean(-2), visible)
        steps = (chunks + self.places).flatten(2, 3).unsqueeze(2)  # (B, N, 1, P C, W)
        # the maps of keys and values are applied to queries and to what was read, which are fewer than the contents
        query = band.split_heads(self.query(contents), self.heads) * self.scale
        scores = query @ self._by_head(self.key) @ steps.mT  # (B, N, H, T, P C)
        within = scores.unflatten(-1, chunks.shape[2:4]).softmax(-1)
        weights = within * relevance.unsqueeze(2).unsqueeze(-1)
        read = weights.flatten(-2) @ steps @ self._by_head(self.value).mT
        return band.merge_heads(read), weights[..., -1, :, :].mean(2).detach()

    def _relevance(self, contents: Tensor, keys: Tensor, visible: Tensor) -> Float[Tensor, "B N T P"]:
        """Softmax over the K best of the visible chunks; 0 for all others."""
        logits = self.chunk_query(contents) * self.scale @ self.chunk_key(keys).mT
        lowest = torch.finfo(logits.dtype).min
        best, index = logits.masked_fill(~visible, lowest).topk(min(self.top_k, logits.shape[-1]))
        weights = best.softmax(-1) * (best > lowest)
        return torch.zeros_like(logits).scatter(-1, index, weights)

    def _by_head(self, linear: nn.Linear) -> Float[Tensor, "H K W"]:
        return linear.weight.unflatten(0, (self.heads, -1))


def unbiased_linear(inputs: int, outputs: int) -> nn.Linear:
    """A linear map without bias whose outputs have twice the variance of its inputs at first, as in the public code.

    Args:
        inputs: their number.
        outputs: their number.
    """
    linear = nn.Linear(inputs, outputs, bias=False)
    nn.init.normal_(linear.weight, std=(2 / inputs) ** 0.5)
    return linear
