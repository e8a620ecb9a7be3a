"""A causal transformer whose keys and values may be cached (GPT-2, with torch's scaled dot-product attention).

Shapes: R sequence (an episode and member), Q new tokens, S cached and then new tokens, W width, L layers.
"""

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn.functional import scaled_dot_product_attention

from experts.second_derivatives import first_order_only, note_recorded
from experts.torch_internals import functorch_active

INITIAL_STD = 0.02  # of all weights


def attention(
    query: Float[Tensor, "R heads Q K"],
    keys: Float[Tensor, "R heads T K"],
    values: Float[Tensor, "R heads T K"],
    mask: Bool[Tensor, "*M Q T"] | None,
) -> Float[Tensor, "R heads Q K"]:
    """What the queries read; under `torch.func` by plain operations, as torch's kernel cannot be vectorized.

    Args:
        query: one for each step that reads.
        keys: of all steps.
        values: of all steps.
        mask: the steps that are seen; None: those up to a step's own.
    """
    if not functorch_active():
        return scaled_dot_product_attention(query, keys, values, mask, is_causal=mask is None)
    return plain_attention(query, keys, values, _causal(query) if mask is None else mask)


def plain_attention(
    query: Float[Tensor, "R heads Q K"],
    keys: Float[Tensor, "R heads T K"],
    values: Float[Tensor, "R heads T K"],
    mask: Bool[Tensor, "*M Q T"],
) -> Float[Tensor, "R heads Q K"]:
    """What the queries read by plain operations, which have second derivatives and can be vectorized by vmap.

    Args:
        query, keys, values, mask: as for `attention`.
    """
    scores = (query @ keys.mT) * query.shape[-1] ** -0.5
    return scores.masked_fill(~mask, -torch.inf).softmax(-1) @ values


class CausalTransformer(nn.Module):
    """Transformer blocks with the norm before attention and before the MLP, and a norm at the end.

    Args:
        width: W, of tokens; the MLP has 4 W hidden units.
        layers: L.
        heads: of the attention.

    Source: Radford et al. 2019 (GPT-2), without dropout.
    """

    def __init__(self, width: int, layers: int, heads: int):
        super().__init__()
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(
        self,
        x: Float[Tensor, "R Q W"],
        mask: Bool[Tensor, "R Q S"] | None = None,
        cache: tuple[Tensor, ...] | None = None,
        every: int = 1,
    ) -> tuple[Float[Tensor, "R O W"], list[Float[Tensor, "R S W2"]]]:
        """Outputs of some tokens, and the keys and values of all tokens in each layer, which may be cached.

        Args:
            x: the new tokens.
            mask: what each new token sees of the cached and new ones; None: the new ones up to itself, without a cache.
            cache: keys and values of earlier tokens in each layer, (R, S - Q, 2 W).
            every: the last new token has an output, and each one that is a multiple of `every` before it; what others
                would need in the last layer alone is not computed.
        """
        rows = []
        for i, block in enumerate(self.blocks):
            last = every if i == len(self.blocks) - 1 else 1
            x, kept = block(x, mask, None if cache is None else cache[i], last)
            rows.append(kept)
        return self.norm(x), rows


class Block(nn.Module):
    """Attention, then an MLP on each token, both with the norm before and a residual."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm, self.norm_within = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key_value = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        inner, outer = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.mlp = nn.Sequential(inner, nn.ReLU(), outer)
        for linear in (self.query, self.key_value, self.out, inner, outer):
            nn.init.normal_(linear.weight, std=INITIAL_STD)
            nn.init.zeros_(linear.bias)

    def forward(self, x: Tensor, mask: Tensor | None, cache: Tensor | None, every: int) -> tuple[Tensor, Tensor]:
        """x (R, Q, W), mask (R, Q, S), cache (R, S - Q, 2 W) -> x of each token that is asked for, and (R, S, 2 W)."""
        normed = self.norm(x)
        rows = self.key_value(normed)
        rows = rows if cache is None else torch.cat([cache, rows], 1)
        if every > 1:
            first = (x.shape[1] - 1) % every
            mask = _causal(x) if mask is None else mask
            x, normed, mask = x[:, first::every], normed[:, first::every], mask[..., first::every, :]
        query, keys, values = (self._split(part) for part in (self.query(normed), *rows.chunk(2, -1)))
        mask = mask if mask is None or mask.dim() == 2 else mask.unsqueeze(1)
        read = attention(query, keys, values, mask)
        x = x + self.out(FirstOrderAttention.apply(read).transpose(1, 2).flatten(2))
        return x + self.mlp(self.norm_within(x)), rows

    def _split(self, x: Tensor) -> Tensor:
        """(R, T, W) -> (R, heads, T, W / heads)."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class FirstOrderAttention(Function):
    """The identity of what an attention has read, which refuses second derivatives in words; torch has none of it."""

    generate_vmap_rule = True

    @staticmethod
    def forward(read: Tensor) -> Tensor:
        return read.view_as(read)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        note_recorded(ctx, inputs)

    @staticmethod
    @first_order_only("torch's scaled dot-product attention", "GTrXL and Window have them.")
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad


def _causal(x: Tensor) -> Tensor:
    """(Q, Q): what each token sees; x (..., Q, W)."""
    return torch.ones(x.shape[-2], x.shape[-2], dtype=torch.bool, device=x.device).tril()
