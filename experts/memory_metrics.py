"""Metrics of memories: rows used, duplicates, the effective number of different rows, entropy of the read weights.

Shapes: B store, R rows, N members, k rows read, K key.
"""

import torch
from torch import Tensor
from torch.nn.functional import normalize

SAMPLE, CHUNK = 256, 1024  # rows that are looked at for duplicates, and how many they are compared with at a time
DUPLICATE = 0.99  # keys of a higher cosine similarity than this hold the same thing


def store_metrics(keys: Tensor, counts: Tensor, weights: Tensor) -> dict[str, Tensor]:
    """Numbers (B,) of a memory with keys (B, R, K), read with weights (B, N, k).

    counts (B, R): how many steps a row stands for, 0 for no row; bool where each stands for one.

    slots_used: rows there are. duplicate_rate: share of them whose nearest other key has cosine > 0.99.
    effective_slots: exp(-sum_i p_i log sum_{j like i} p_j), p the shares of the counts: how many different things of
    equal share the rows would amount to. That is the diversity of order 1 of Leinster and Cobbold 2012 (eq. 1), so
    rows that are alike count as one, whether they lie apart or were merged. read_entropy: of the (normalised,
    absolute) read weights, in nats. Where rows are many, those in the middle two are told from a sample.
    """
    share = weights.abs() / weights.abs().sum(-1, keepdim=True).clamp(min=1e-12)
    return {
        "slots_used": (counts > 0).sum(-1).to(keys.dtype),
        **_diversity(normalize(keys, dim=-1), counts.to(keys.dtype)),
        "read_entropy": -torch.xlogy(share, share).sum(-1).mean(-1),
    }


def _diversity(keys: Tensor, counts: Tensor) -> dict[str, Tensor]:
    """Of SAMPLE rows at most, each compared with all."""
    size = keys.shape[1]
    some = slice(None, None, max(1, -(-size // SAMPLE)))
    sample, mine = keys[:, some], counts[:, some]
    weighed = torch.stack([(counts > 0).to(keys.dtype), counts], -1)  # (B, R, 2)
    alike = torch.zeros_like(weighed[:, some])  # number of rows like this one, and the steps that they stand for
    for part in (slice(lo, lo + CHUNK) for lo in range(0, size, CHUNK)):
        alike = alike + (sample @ keys[:, part].mT > DUPLICATE).to(keys.dtype) @ weighed[:, part]
    rows, steps = alike.unbind(-1)
    total, seen = counts.sum(-1), mine.sum(-1)
    share = mine / seen.clamp(min=1).unsqueeze(-1)
    around = torch.maximum(steps, mine) / total.clamp(min=1).unsqueeze(-1)  # a key of zeros is not even like itself
    there = mine > 0
    twins = (rows > 1) & there  # a row is like itself
    return {
        "duplicate_rate": twins.sum(-1) / there.sum(-1).clamp(min=1).to(keys.dtype),
        "effective_slots": torch.exp(-torch.xlogy(share, around).sum(-1)) * (total > 0),
    }
