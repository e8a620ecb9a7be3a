"""A slow and obvious reference of sparse access memory, in NumPy: one store, all slots, loops over heads."""

import numpy as np

EPS = 1e-6


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def sam(
    weights: dict[str, np.ndarray],
    hidden: list[np.ndarray],
    *,
    slots: int,
    heads: int,
    top_k: int,
    threshold: float,
    start: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None,
) -> tuple[list[np.ndarray], np.ndarray]:
    """Read vectors (T of (heads, W)) and the last memory of a store with one member.

    weights: of the layer "interface"; hidden: the controller's outputs h of T steps, each (H,). start: memory (R, W),
    order of the last uses (R,), larger is later, and read weights (heads, R); None: those of a new episode.
    """
    rows = len(weights["interface.bias"]) // heads
    width = (rows - 3) // 2
    memory, used, previous = start or (np.zeros((slots, width)), np.arange(slots), np.zeros((heads, slots)))
    reads = []
    for t, h in enumerate(hidden, used.max() + 1):
        parts = (weights["interface.weight"] @ h + weights["interface.bias"]).reshape(heads, rows)
        oldest = np.lexsort((np.arange(slots), used))[:heads]
        written = np.zeros((heads, slots))
        for head in range(heads):
            alpha, gamma = sigmoid(parts[head, -2:])
            written[head] = alpha * gamma * previous[head]
            written[head, oldest[head]] += alpha * (1 - gamma)
        memory[oldest] = 0
        for head in range(heads):
            memory = memory + np.outer(written[head], parts[head, width : 2 * width])
        step_reads, read_weights = [], np.zeros((heads, slots))
        for head in range(heads):
            query, strength = parts[head, :width], np.log1p(np.exp(parts[head, 2 * width])) + 1
            norms = np.sqrt((query**2).sum() + EPS) * np.sqrt((memory**2).sum(1) + EPS)
            cosine = memory @ query / norms
            nearest = np.argsort(-cosine)[:top_k]
            scores = np.exp(strength * cosine[nearest])
            read_weights[head, nearest] = scores / scores.sum()
            step_reads.append(read_weights[head] @ memory)
        used = np.where(((written + read_weights) > threshold).any(0), t, used)
        previous = read_weights
        reads.append(np.stack(step_reads))
    return reads, memory
