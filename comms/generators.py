"""Named communication topologies. Regular ones are built as index arrays: 100,000 experts take a fraction of a second.

Axes: E expert, K edge, N neighbor.
"""

from collections.abc import Callable
from math import isqrt
from typing import NamedTuple

import networkx as nx
import numpy as np
from jaxtyping import Float, Int


class EdgeList(NamedTuple):
    """Edge list of one directed graph, as numpy arrays, sorted by receiver, then by sender.

    Args:
        senders: the expert at the tail of each edge.
        receivers: the expert at the head of each edge.
        weight: a finite number >= 0; 0 for an inactive edge.
    """

    senders: Int[np.ndarray, "K"]
    receivers: Int[np.ndarray, "K"]
    weight: Float[np.ndarray, "K"]


def complete(experts: int) -> EdgeList:
    """A complete graph without self-loops."""
    return ring_lattice(experts, neighbors=experts - experts % 2)


def ring(experts: int) -> EdgeList:
    """A cycle without self-loops: a single expert has no neighbors."""
    return ring_lattice(experts, neighbors=2)


def ring_lattice(experts: int, *, neighbors: int = 8) -> EdgeList:
    """A cycle on which each expert is connected to its nearest neighbors, half of them on each side.

    Args:
        experts: E.
        neighbors: an even number; a complete graph where there are no more experts than that.

    Raises:
        ValueError: `neighbors` is odd or negative.
    """
    if neighbors < 0 or neighbors % 2:
        raise ValueError(f"neighbors={neighbors}, want an even number: as many on the left as on the right")
    reach = np.arange(1, min(neighbors // 2, experts // 2) + 1)
    steps = np.unique(np.concatenate([reach, -reach]) % experts)  # the opposite expert is reached from both sides
    receivers = np.arange(experts)
    senders = np.sort((receivers[:, None] + steps) % experts, axis=1)
    return EdgeList(senders.ravel(), receivers.repeat(len(steps)), np.ones(senders.size))


def grid(experts: int) -> EdgeList:
    """A 2D grid with open borders, as nearly square as E allows, row by row; a line where E is prime."""
    rows = next(r for r in range(isqrt(experts), 0, -1) if experts % r == 0)
    index = np.arange(experts).reshape(rows, -1)
    ends = [(index[:, :-1], index[:, 1:]), (index[:-1], index[1:])]
    u, v = (np.concatenate([end.ravel() for end in side]) for side in zip(*ends, strict=True))
    return _symmetrize(u, v, experts)


def star(experts: int) -> nx.Graph:
    """A star graph with expert 0 as the hub."""
    return nx.star_graph(experts - 1)


def small_world(experts: int, *, neighbors: int = 4, rewire: float = 0.1, seed: int = 0) -> nx.Graph:
    """A connected small-world graph: a ring lattice with randomly rewired edges (Watts and Strogatz 1998, Methods).

    Args:
        experts: E.
        neighbors: of each expert in the lattice.
        rewire: probability that an edge is rewired.
        seed: of the random numbers.

    Raises:
        ValueError: fewer than 2 neighbors, `rewire` is no probability, or `seed` is negative.
    """
    if neighbors < 2:
        raise ValueError(f"neighbors={neighbors}, want at least 2, one on each side")
    if not 0 <= rewire <= 1:
        raise ValueError(f"rewire={rewire}, want a probability, 0 to 1")
    _check_seed(seed)
    if experts <= neighbors + 1:  # the ring is complete already
        return nx.complete_graph(experts)
    return nx.connected_watts_strogatz_graph(experts, neighbors, rewire, seed=seed)


def random_regular(experts: int, *, degree: int = 4, seed: int = 0) -> EdgeList:
    """A random regular graph: each expert has `degree` random neighbors.

    Edge ends are paired at random; self-loops and parallel edges are then switched with random other edges, which keeps
    all degrees. A dense graph is the complement of a sparse one.

    Args:
        experts: E.
        degree: reduced to E - 1, and by one more where E * degree is odd.
        seed: of the random numbers.

    Raises:
        ValueError: `degree` or `seed` is negative.

    Source: the pairing model of Bollobás 1980, repaired as in McKay and Wormald 1990.
    """
    if degree < 0:
        raise ValueError(f"degree={degree}, want at least 0 neighbors")
    _check_seed(seed)
    degree = min(degree, experts - 1)
    degree -= experts * degree % 2
    rng = np.random.default_rng(seed)
    if 2 * degree < experts:
        return _symmetrize(*_simple_pairing(experts, degree, rng), experts)
    complement = _symmetrize(*_simple_pairing(experts, experts - 1 - degree, rng), experts)
    adjacency = ~np.eye(experts, dtype=bool)
    adjacency[complement.senders, complement.receivers] = False
    return _from_sorted_keys(np.flatnonzero(adjacency), experts)


def none(experts: int) -> EdgeList:
    """A graph without edges."""
    return ring_lattice(experts, neighbors=0)


TOPOLOGIES: dict[str, Callable[[int], nx.Graph | EdgeList]] = {
    "complete": complete,
    "ring": ring,
    "ring_lattice": ring_lattice,
    "grid": grid,
    "star": star,
    "small_world": small_world,
    "random_regular": random_regular,
    "none": none,
}
"""Topologies by name, each a function from the number of experts to a graph."""


def _check_seed(seed: int) -> None:
    if seed < 0:
        raise ValueError(f"seed={seed}, want at least 0")


def _symmetrize(u: np.ndarray, v: np.ndarray, experts: int) -> EdgeList:
    """Both directions of the undirected edges u[i] - v[i], each listed once."""
    return _from_sorted_keys(np.sort(np.concatenate([u * experts + v, v * experts + u])), experts)


def _from_sorted_keys(keys: np.ndarray, experts: int) -> EdgeList:
    """The edge list of sorted keys, each receiver * experts + sender."""
    receivers, senders = np.divmod(keys, experts)
    return EdgeList(senders, receivers, np.ones(len(keys)))


def _simple_pairing(experts: int, degree: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The two ends of each edge of a random regular graph without self-loops and parallel edges."""
    ends = np.repeat(np.arange(experts), degree)
    u, v = rng.permutation(ends).reshape(2, -1)
    while (invalid := _loop_or_parallel(u, v, experts)).any():
        bad, good = np.flatnonzero(invalid), np.flatnonzero(~invalid)
        if len(bad) > len(good):  # with very few experts: sample again
            u, v = rng.permutation(ends).reshape(2, -1)
            continue
        partners = rng.choice(good, len(bad), replace=False)
        v[bad], v[partners] = v[partners], v[bad]
    return u, v


def _loop_or_parallel(u: np.ndarray, v: np.ndarray, experts: int) -> np.ndarray:
    """Mask of the edges that are self-loops, or parallel to an earlier edge."""
    invalid = np.ones(len(u), dtype=bool)
    invalid[np.unique(np.minimum(u, v) * experts + np.maximum(u, v), return_index=True)[1]] = False
    return invalid | (u == v)
