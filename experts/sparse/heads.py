"""Weights of the few slots that the heads of a sparse memory read and write, in plain operations.

Shapes: B store, N member, H head, K slots read by a head, L slots written by it, W slot size.
"""

import torch
from torch import Tensor

from experts.dnc.addressing import EPS


def check_access(slots: int, top_k: int, threshold: float) -> None:
    """Raises ValueError for more slots to read than there are, or a negative threshold."""
    if top_k > slots:
        raise ValueError(f"top_k={top_k}, want at most the number of slots, {slots}")
    if not threshold >= 0:
        raise ValueError(f"threshold={threshold}, want at least 0")


def similarity_weights(query: Tensor, strength: Tensor, content: Tensor) -> Tensor:
    """Softmax (B, N, H, K) over the slots read of strength times cosine similarity.

    Args:
        query: (B, N, H, W).
        strength: (B, N, H, 1), at least 0.
        content: (B, N, H, K, W), of the slots.
    """
    norms = (query.square().sum(-1, keepdim=True) + EPS) * (content.square().sum(-1) + EPS)
    return torch.softmax(strength * (content @ query.unsqueeze(-1)).squeeze(-1) * norms.rsqrt(), -1)


def used_slots(
    write: tuple[Tensor, Tensor], read: tuple[Tensor, Tensor], threshold: float, present: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The slots (B, n) that were written or read, and whether a member uses them: by weights above a threshold.

    Args:
        write: slots and weights, (B, N, H, L).
        read: slots and weights, (B, N, R, K), of R = H or more heads, R / H of which belong to a head that writes.
        threshold: of the sum of the weights of a head that writes and of those that belong to it.
        present: (B, N), members that take part; None: all.
    """
    heads = write[0].shape[2]
    grouped = (part.unflatten(2, (heads, -1)).flatten(3) for part in read)
    slots, weights = (torch.cat(parts, -1).detach() for parts in zip(write, grouped, strict=True))  # (B, N, H, n)
    same = slots.unsqueeze(-1) == slots.unsqueeze(-2)
    used = (same * weights.unsqueeze(-2)).sum(-1) > threshold
    if present is not None:
        used = used & present[..., None, None]
    return slots.flatten(1), used.flatten(1)


def dense_weights(slots: Tensor, weights: Tensor, size: int) -> Tensor:
    """The weights (B, N, R) of all slots.

    Args:
        slots: (B, N, n); one that stands several times is summed.
        weights: (B, N, n).
        size: R.
    """
    return weights.new_zeros(*weights.shape[:2], size).scatter_add(-1, slots, weights)
