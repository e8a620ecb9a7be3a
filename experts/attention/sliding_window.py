"""Causal sliding-window attention: metrics step of a sequence attends to itself and to `slots` previous steps.

Steps before the sequence come from the state, as rows with the number of rows written. A single step is a sequence of
length one. Rows keep their gradient until the state is detached.

Shapes: B episode, N members, H head, T step, M slots, S = M + T rows and then steps, K key, V value, W row.
"""

import torch
from torch import Tensor
from torch.nn.functional import pad

from experts.memory_metrics import store_metrics

MIN_CHUNK = 32  # minimal number of steps that an unroll computes at once; else the number of slots


def chunk_size(slots: int) -> int:
    """Steps to compute at once, so that most of the score matrix is inside the window."""
    return max(slots, MIN_CHUNK)


def window_mask(count: Tensor, steps: int, slots: int, reset: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Attention mask (B, N, T, S), and the number of written rows after the sequence, (B, N).

    count (B, N): rows written before. reset (T, B): episodes that begin at a step, which hides older steps.
    """
    positions = torch.arange(slots + steps, device=count.device)
    age = positions[slots:, None] - positions  # (T, S)
    written = positions >= slots - count.unsqueeze(-1)  # (B, N, S)
    visible = ((age >= 0) & (age <= slots)) & written.unsqueeze(-2)
    if reset is not None:
        episode = pad(reset.t().long().cumsum(-1), (slots, 0))  # (B, S)
        same = episode[:, slots:, None] == episode[:, None]
        visible = visible & same.unsqueeze(1)
    return visible, visible[..., -1, :].sum(-1).clamp(max=slots)


def update_window(rows: Tensor, steps: Tensor, count: Tensor, reset: Tensor | None = None) -> Tensor:
    """The rows after a sequence, (B, N, *, M, W), from those before it and its steps (B, N, *, T, W).

    count (B, N): number of written rows afterwards. After a reset the other rows are set to zero.
    """
    slots = rows.shape[-2]
    new = torch.cat([rows, steps], -2)[..., -slots:, :]
    if reset is None:
        return new
    written = torch.arange(slots, device=count.device) >= slots - count.unsqueeze(-1)  # (B, N, M)
    return torch.where(written.view(*count.shape, *[1] * (new.dim() - 4), slots, 1), new, 0)


def attend(
    query: Tensor, keys: Tensor, values: Tensor, query_by_age: Tensor, ages: Tensor, visible: Tensor
) -> tuple[Tensor, Tensor]:
    """Softmax attention by content and by age: reads (B, N, H, T, V) and weights (B, N, H, T, S).

    The score of step t and row s is query[t] . keys[s] + query_by_age[t] . ages[age of s]: (B, N, H, T, K), (B, N, H,
    S, K); ages (H, M + 1, K), oldest age M first (Shaw et al. 2018; Dai et al. 2019, sec. 3.3).
    """
    scores = query @ keys.mT + _relative_shift(query_by_age @ ages.mT)
    weights = torch.softmax(
        scores.masked_fill(~visible.unsqueeze(2), -torch.inf), -1
    )  # finite, as metrics step attends to itself
    return weights @ values, weights


def _relative_shift(scores: Tensor) -> Tensor:
    """Scores by age (..., T, M + 1), oldest first -> by row (..., T, S): row t is shifted by t, the rest is 0."""
    steps, ages = scores.shape[-2:]
    flat = pad(scores, (0, steps)).flatten(-2)
    return flat[..., :-steps].unflatten(-1, (steps, ages - 1 + steps))


def split_heads(x: Tensor, heads: int) -> Tensor:
    """Splits concatenated heads: (..., T, H K) -> (..., H, T, K)."""
    return x.unflatten(-1, (heads, -1)).transpose(-2, -3)


def merge_heads(heads: Tensor) -> Tensor:
    """Concatenates heads: (..., H, T, K) -> (..., T, H K)."""
    return heads.transpose(-2, -3).flatten(-2)


def last_weights(weights: Tensor, slots: int) -> Tensor:
    """Weights of the last step, mean over heads, detached: (B, N, M + 1), the present step last."""
    return weights[..., -1, -slots - 1 :].mean(2).detach()


def window_metrics(rows: Tensor, count: Tensor, weights: Tensor) -> dict[str, Tensor]:
    """Metrics of `experts.memory_metrics` for rows (B, N, M, W), mean over members; weights (B, N, M + 1)."""
    slots = rows.shape[-2]
    written = torch.arange(slots, device=count.device) >= slots - count.unsqueeze(-1)
    metrics = store_metrics(rows.flatten(0, 1), written.flatten(0, 1), weights.flatten(0, 1).unsqueeze(1))
    return {name: number.view(count.shape).mean(1) for name, number in metrics.items()}
