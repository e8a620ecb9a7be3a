"""Cuts a topology into parts of equal size with few crossing edges.

Axes: E expert, K edge.
"""

import numpy as np
from jaxtyping import Int

from comms.generators import EdgeList

FEW_CROSSING = 0.05
"""Fraction of crossing edges up to which contiguous blocks are taken without looking for something better."""


def partition(rows: EdgeList, experts: int, parts: int) -> Int[np.ndarray, "E"]:
    """The part of each expert: blocks of the experts in an order in which few edges are long.

    Contiguous blocks of the indices cut a ring, a lattice or a grid, whose indices follow its shape, along short
    borders. Where they cut many edges, blocks of a breadth-first order are taken instead if they cut fewer: it numbers
    neighbors close to each other, whatever the indices say. The sizes of two parts differ by at most 1.

    Args:
        rows: the topology.
        experts: E.
        parts: number of parts.

    Raises:
        ValueError: more parts than experts.

    Source: Cuthill and McKee 1969, for the order.
    """
    if not 1 <= parts <= experts:
        raise ValueError(f"parts={parts}, want 1 to experts={experts}: each part has at least one expert")
    blocks = np.sort(np.arange(experts) * parts // experts)
    found = crossing_edges(rows, blocks)
    if found <= FEW_CROSSING * len(rows.senders):
        return blocks
    reordered = np.empty_like(blocks)
    reordered[_breadth_first(rows, experts)] = blocks
    return reordered if crossing_edges(rows, reordered) < found else blocks


def crossing_edges(rows: EdgeList, part: Int[np.ndarray, "E"]) -> int:
    """The number of edges whose ends are in different parts.

    Args:
        rows: the topology.
        part: the part of each expert.
    """
    return int(np.count_nonzero(part[rows.senders] != part[rows.receivers]))


def _breadth_first(rows: EdgeList, experts: int) -> Int[np.ndarray, "E"]:
    """All experts in breadth-first order, each component from an expert with the fewest neighbors."""
    ends = np.concatenate([rows[:2], rows[1::-1]], axis=1)  # edges in both directions
    neighbors = ends[1, np.argsort(ends[0], kind="stable")]
    degree = np.bincount(ends[0], minlength=experts)
    first = np.concatenate([[0], np.cumsum(degree)])
    unseen, order = np.ones(experts, dtype=bool), []
    for root in np.argsort(degree, kind="stable"):
        front = np.array([root]) if unseen[root] else np.empty(0, dtype=np.int64)
        while front.size:
            unseen[front] = False
            order.append(front)
            reached = np.concatenate([neighbors[first[i] : first[i + 1]] for i in front])
            front = np.unique(reached[unseen[reached]])
    return np.concatenate(order)
