"""A causal transformer over the bins of steps, one token for each number, with a key-value cache.

Shapes: R row, L token of a sequence, P token before it (in the cache), W width, S numbers of a step, K bins.
"""

from typing import TypeAlias

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from experts.attention.causal_transformer import attention, plain_attention

Cache: TypeAlias = list[tuple[Tensor, Tensor]]
"""Keys and values of each layer, (R, heads, P, W / heads)."""


class TokenTransformer(nn.Module):
    """Causal transformer with pre-normalization, learned positions, and embeddings and outputs of each number.

    Args:
        size: S, numbers of a step.
        bins: K.
        length: the longest sequence.
        width: W.
        layers: number of layers.
        heads: of attention.

    Raises:
        ValueError: a width that is not divisible by the heads.
    """

    def __init__(self, size: int, bins: int, length: int, width: int, layers: int, heads: int):
        super().__init__()
        if width % heads:
            raise ValueError(f"width={width}, want a multiple of heads={heads}")
        self.size, self.bins = size, bins
        self.embedding = nn.Parameter(0.1 * torch.randn(size, bins, width))
        self.position = nn.Parameter(0.1 * torch.randn(length, width))
        self.layers = nn.ModuleList(Layer(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.out = nn.Parameter(torch.randn(size, bins, width) * width**-0.5)
        self.bias = nn.Parameter(torch.zeros(size, bins))

    def forward(
        self,
        tokens: Int[Tensor, "R L"],
        dims: Int[Tensor, " L"],
        position: Int[Tensor, "R L"],
        mask: Bool[Tensor, "R 1 L PL"] | None,
        cache: Cache | None = None,
    ) -> tuple[Float[Tensor, "R L W"], Cache]:
        """The features of tokens, and the cache of all tokens so far.

        Args:
            tokens: bins.
            dims: which number of a step each token is.
            position: of each token in its sequence.
            mask: which tokens each of them attends to; None: all before it and itself, without a cache.
            cache: of the tokens before; None: there are none.
        """
        x = self.embedding[dims, tokens] + self.position[position]
        new: Cache = []
        for i, layer in enumerate(self.layers):
            x, pair = layer(x, mask, None if cache is None else cache[i])
            new.append(pair)
        return self.norm(x), new

    def logits(self, features: Float[Tensor, "*B W"], dim: int, used: Bool[Tensor, "S K"]) -> Float[Tensor, "*B K"]:
        """Logits of the next token, minus infinity for bins without values.

        Args:
            features: of the token before.
            dim: which number of a step the next token is.
            used: bins that have values.
        """
        return (features @ self.out[dim].T + self.bias[dim]).masked_fill(~used[dim], -torch.inf)

    def all_logits(
        self, features: Float[Tensor, "R L W"], dims: Int[Tensor, " L"], used: Bool[Tensor, "S K"]
    ) -> Float[Tensor, "R L K"]:
        """As `logits`, for the tokens after each token of a sequence.

        Args:
            features: of all tokens.
            dims: which number of a step the token after each of them is.
            used: bins that have values.
        """
        scores = torch.einsum("rlw,lkw->rlk", features, self.out[dims]) + self.bias[dims]
        return scores.masked_fill(~used[dims], -torch.inf)


class Layer(nn.Module):
    """Attention to earlier tokens and an MLP, with residuals around both.

    Args:
        width: W.
        heads: of attention.
    """

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm, self.norm_within = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.merge = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(
        self, x: Float[Tensor, "R L W"], mask: Tensor | None, cache: tuple[Tensor, Tensor] | None
    ) -> tuple[Float[Tensor, "R L W"], tuple[Tensor, Tensor]]:
        """The features of the next layer, and keys and values of all tokens so far.

        Args:
            x: features of the tokens.
            mask: as for `TokenTransformer.forward`.
            cache: keys and values of the tokens before; None: there are none.
        """
        qkv = self.qkv(self.norm(x)).unflatten(-1, (3, self.heads, x.shape[-1] // self.heads))
        query, key, value = qkv.movedim(2, 0).transpose(2, 3).unbind(0)
        if cache is not None:
            key, value = torch.cat([cache[0], key], 2), torch.cat([cache[1], value], 2)
        read = attention(query, key, value, None) if mask is None else plain_attention(query, key, value, mask)
        x = x + self.merge(read.transpose(1, 2).flatten(2))
        return x + self.mlp(self.norm_within(x)), (key, value)


def select_rows(cache: Cache, index: Int[Tensor, " R2"]) -> Cache:
    """The cache of other rows.

    Args:
        cache: of rows.
        index: the rows wanted, possibly several times.
    """
    return [(key[index], value[index]) for key, value in cache]
