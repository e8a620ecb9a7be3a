"""Attention over the last steps: each step of a sequence sees `slots` steps before it, itself, and nothing else.

The steps before the sequence come from the state, as rows with a count of those that were written. One step is a
sequence of one. What is remembered carries its gradient; who steps a core says where the past ends, by detaching.

Shapes: B episode, N members, H head, T step, M slots, S = M + T rows and then steps, K key, V value, W row.
"""

import torch
from torch import Tensor
from torch.nn.functional import pad

from experts.memory_metrics import store_metrics

MIN_CHUNK = 32  # steps that an unroll takes at once, at least; else as many as there are slots


def chunk_size(slots: int) -> int:
    """Steps to take at once: so many that most of the products are wanted, however long the sequence."""
    return max(slots, MIN_CHUNK)


def window_mask(count: Tensor, steps: int, slots: int, reset: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Which of S each step sees, (B, N, T, S), and how many rows count behind them, (B, N).

    count (B, N): rows written before. reset (T, B): rows that begin anew before that step, and see nothing older.
    """
    places = torch.arange(slots + steps, device=count.device)
    age = places[slots:, None] - places  # (T, S)
    written = places >= slots - count.unsqueeze(-1)  # (B, N, S)
    seen = ((age >= 0) & (age <= slots)) & written.unsqueeze(-2)
    if reset is not None:
        episode = pad(reset.t().long().cumsum(-1), (slots, 0))  # (B, S)
        same = episode[:, slots:, None] == episode[:, None]
        seen = seen & same.unsqueeze(1)
    return seen, seen[..., -1, :].sum(-1).clamp(max=slots)


def update_window(rows: Tensor, steps: Tensor, count: Tensor, reset: Tensor | None = None) -> Tensor:
    """The rows behind a sequence, (B, N, *, M, W), from those before it and its steps (B, N, *, T, W).

    count (B, N): how many of them count. After a reset the others are zeros again, whatever they were.
    """
    slots = rows.shape[-2]
    new = torch.cat([rows, steps], -2)[..., -slots:, :]
    if reset is None:
        return new
    written = torch.arange(slots, device=count.device) >= slots - count.unsqueeze(-1)  # (B, N, M)
    return torch.where(written.view(*count.shape, *[1] * (new.dim() - 4), slots, 1), new, 0)


def attend(
    query: Tensor, keys: Tensor, values: Tensor, by_place: Tensor, places: Tensor, seen: Tensor
) -> tuple[Tensor, Tensor]:
    """Softmax attention by content and by age: reads (B, N, H, T, V) and weights (B, N, H, T, S).

    The score of step t and row s is query[t] . keys[s] + by_place[t] . places[age of s]: (B, N, H, T, K), (B, N, H, S,
    K); places (H, M + 1, K), of the oldest age M first (Shaw et al. 2018; Dai et al. 2019, sec. 3.3).
    """
    scores = query @ keys.mT + _relative_shift(by_place @ places.mT)
    weights = torch.softmax(scores.masked_fill(~seen.unsqueeze(2), -torch.inf), -1)  # each step sees itself, at least
    return weights @ values, weights


def _relative_shift(scores: Tensor) -> Tensor:
    """(..., T, M + 1) by age, oldest first -> (..., T, S) by place: row t moves t places on, the rest is 0."""
    steps, ages = scores.shape[-2:]
    flat = pad(scores, (0, steps)).flatten(-2)
    return flat[..., :-steps].unflatten(-1, (steps, ages - 1 + steps))


def split_heads(side_by_side: Tensor, heads: int) -> Tensor:
    """(..., T, H K) -> (..., H, T, K)"""
    return side_by_side.unflatten(-1, (heads, -1)).transpose(-2, -3)


def merge_heads(heads: Tensor) -> Tensor:
    """(..., H, T, K) -> (..., T, H K)"""
    return heads.transpose(-2, -3).flatten(-2)


def last_weights(weights: Tensor, slots: int) -> Tensor:
    """Of the last step, mean over heads, without gradient: (B, N, M + 1), the present step last."""
    return weights[..., -1, -slots - 1 :].mean(2).detach()


def window_metrics(rows: Tensor, count: Tensor, weights: Tensor) -> dict[str, Tensor]:
    """`experts.memory_metrics` of rows (B, N, M, W), mean over members; weights (B, N, M + 1)."""
    slots = rows.shape[-2]
    written = torch.arange(slots, device=count.device) >= slots - count.unsqueeze(-1)
    each = store_metrics(rows.flatten(0, 1), written.flatten(0, 1), weights.flatten(0, 1).unsqueeze(1))
    return {name: number.view(count.shape).mean(1) for name, number in each.items()}
