"""Metrics of memories: slots used, duplicates, effective number of distinct rows, entropy of read weights.

Shapes: B store, R rows, N members, k rows read, K key.
"""

import torch
from torch import Tensor
from torch.nn.functional import normalize

SAMPLE, CHUNK = 256, 1024  # number of rows sampled for duplicates, and of rows compared with them at a time
DUPLICATE = 0.99  # keys with a higher cosine similarity are duplicates


def store_metrics(keys: Tensor, counts: Tensor, weights: Tensor) -> dict[str, Tensor]:
    """Metrics (B,) of a memory with keys (B, R, K), read with weights (B, N, k).

    slots_used: number of rows. duplicate_rate: fraction of rows whose nearest other key has cosine similarity > 0.99.
    effective_slots: exp(-sum_i p_i log sum_{j similar to i} p_j), p the normalized counts: the diversity of order 1 of
    Leinster and Cobbold 2012 (eq. 1), in which similar rows count as one, whether merged or not. read_entropy: entropy
    of the normalized absolute read weights, in nats. For large stores duplicate_rate and effective_slots are estimated
    from a sample.

    Args:
        keys: (B, R, K).
        counts: (B, R), number of steps that each row represents, 0 for no row; or a mask of rows.
        weights: read weights (B, N, k).
    """
    normalized = weights.abs() / weights.abs().sum(-1, keepdim=True).clamp(min=1e-12)
    return {
        "slots_used": (counts > 0).sum(-1).to(keys.dtype),
        **_diversity(normalize(keys, dim=-1), counts.to(keys.dtype)),
        "read_entropy": -torch.xlogy(normalized, normalized).sum(-1).mean(-1),
    }


def _diversity(keys: Tensor, counts: Tensor) -> dict[str, Tensor]:
    """duplicate_rate and effective_slots, from at most SAMPLE rows, each compared with all rows."""
    size = keys.shape[1]
    subset = slice(None, None, max(1, -(-size // SAMPLE)))
    sample, sample_counts = keys[:, subset], counts[:, subset]
    row_weights = torch.stack([(counts > 0).to(keys.dtype), counts], -1)  # (B, R, 2)
    similar = torch.zeros_like(row_weights[:, subset])  # number of similar rows, and of the steps that they represent
    for part in (slice(start, start + CHUNK) for start in range(0, size, CHUNK)):
        similar = similar + (sample @ keys[:, part].mT > DUPLICATE).to(keys.dtype) @ row_weights[:, part]
    rows, steps = similar.unbind(-1)
    total, sample_total = counts.sum(-1), sample_counts.sum(-1)
    p = sample_counts / sample_total.clamp(min=1).unsqueeze(-1)
    p_similar = torch.maximum(steps, sample_counts) / total.clamp(min=1).unsqueeze(-1)  # a key of zeros has cosine 0
    valid = sample_counts > 0
    duplicates = (rows > 1) & valid  # each row is similar to itself
    return {
        "duplicate_rate": duplicates.sum(-1) / valid.sum(-1).clamp(min=1).to(keys.dtype),
        "effective_slots": torch.exp(-torch.xlogy(p, p_similar).sum(-1)) * (total > 0),
    }
