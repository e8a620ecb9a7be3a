"""Topologies by name. Those of a regular shape are made as index arrays: 100,000 experts take a fraction of a second.

Axes: E expert, K edge, N neighbour.
"""

from collections.abc import Callable
from math import isqrt
from typing import NamedTuple

import networkx as nx
import numpy as np
from jaxtyping import Float, Int


class EdgeList(NamedTuple):
    """The edges of one graph on the host, sorted by receiver, then by sender."""

    senders: Int[np.ndarray, "K"]
    receivers: Int[np.ndarray, "K"]
    weight: Float[np.ndarray, "K"]


def complete(experts: int) -> EdgeList:
    """Everyone neighbours everyone else."""
    return ring_lattice(experts, neighbours=experts - experts % 2)


def ring(experts: int) -> EdgeList:
    """A cycle; nobody neighbours itself, so that one expert is alone."""
    return ring_lattice(experts, neighbours=2)


def ring_lattice(experts: int, *, neighbours: int = 8) -> EdgeList:
    """A cycle on which everyone neighbours the nearest `neighbours`, half of them on each side; all among few.

    Raises ValueError where that number is odd or negative.
    """
    if neighbours < 0 or neighbours % 2:
        raise ValueError(f"neighbours={neighbours}, want an even number: as many on the left as on the right")
    reach = np.arange(1, min(neighbours // 2, experts // 2) + 1)
    steps = np.unique(np.concatenate([reach, -reach]) % experts)  # the expert opposite is met from both sides
    here = np.arange(experts)
    senders = np.sort((here[:, None] + steps) % experts, axis=1)
    return EdgeList(senders.ravel(), here.repeat(len(steps)), np.ones(senders.size))


def grid(experts: int) -> EdgeList:
    """The most nearly square rectangle, row by row, with open borders; a line where the number is prime."""
    rows = next(r for r in range(isqrt(experts), 0, -1) if experts % r == 0)
    place = np.arange(experts).reshape(rows, -1)
    ends = [(place[:, :-1], place[:, 1:]), (place[:-1], place[1:])]
    one, other = (np.concatenate([end.ravel() for end in side]) for side in zip(*ends, strict=True))
    return _symmetrize(one, other, experts)


def star(experts: int) -> nx.Graph:
    """Expert 0 is the hub of all the others."""
    return nx.star_graph(experts - 1)


def small_world(experts: int, *, neighbours: int = 4, rewire: float = 0.1, seed: int = 0) -> nx.Graph:
    """A ring of near neighbours with some edges rewired, connected (Watts and Strogatz 1998, Methods)."""
    if experts <= neighbours + 1:  # the ring is complete already
        return nx.complete_graph(experts)
    return nx.connected_watts_strogatz_graph(experts, neighbours, rewire, seed=seed)


def random_regular(experts: int, *, degree: int = 4, seed: int = 0) -> EdgeList:
    """Everyone has `degree` random neighbours; fewer among few experts, or one fewer to make it possible.

    Ends are paired at random; loops and parallel edges are then switched with random other edges, which keeps
    everyone's degree (the pairing model of Bollobás 1980, repaired as in McKay and Wormald 1990). A graph in which
    most are neighbours is the complement of one in which few are.

    Raises ValueError where degree is negative.
    """
    if degree < 0:
        raise ValueError(f"degree={degree}, want at least 0 neighbours")
    degree = min(degree, experts - 1)
    degree -= experts * degree % 2
    rng = np.random.default_rng(seed)
    if 2 * degree < experts:
        return _symmetrize(*_simple_pairing(experts, degree, rng), experts)
    apart = _symmetrize(*_simple_pairing(experts, experts - 1 - degree, rng), experts)
    near = ~np.eye(experts, dtype=bool)
    near[apart.senders, apart.receivers] = False
    return _sorted(np.flatnonzero(near), experts)


def none(experts: int) -> EdgeList:
    """Nobody neighbours anybody."""
    return ring_lattice(experts, neighbours=0)


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


def _symmetrize(one: np.ndarray, other: np.ndarray, experts: int) -> EdgeList:
    """The undirected edges one[i] - other[i], each named once."""
    return _sorted(np.sort(np.concatenate([one * experts + other, other * experts + one])), experts)


def _sorted(keys: np.ndarray, experts: int) -> EdgeList:
    """The edge list of sorted keys, each receiver * experts + sender."""
    receivers, senders = np.divmod(keys, experts)
    return EdgeList(senders, receivers, np.ones(len(keys)))


def _simple_pairing(experts: int, degree: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The two ends of each edge of a random regular graph without loops and parallel edges."""
    ends = np.repeat(np.arange(experts), degree)
    one, other = rng.permutation(ends).reshape(2, -1)
    while (wrong := _loop_or_parallel(one, other, experts)).any():
        bad, good = np.flatnonzero(wrong), np.flatnonzero(~wrong)
        if len(bad) > len(good):  # among very few experts: draw again
            one, other = rng.permutation(ends).reshape(2, -1)
            continue
        partners = rng.choice(good, len(bad), replace=False)
        other[bad], other[partners] = other[partners], other[bad]
    return one, other


def _loop_or_parallel(one: np.ndarray, other: np.ndarray, experts: int) -> np.ndarray:
    """Which edges are loops, or parallel to one before them."""
    wrong = np.ones(len(one), dtype=bool)
    wrong[np.unique(np.minimum(one, other) * experts + np.maximum(one, other), return_index=True)[1]] = False
    return wrong | (one == other)
