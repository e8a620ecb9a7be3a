"""Names, callables and networkx graphs become edges: an edge i -> j lets expert j hear expert i.

All work with networkx is done on the host, once for a topology and a number of experts (`edge_list`);
`connect` then gives each batch of episodes its `Edges`, cheaply.

Axes: B episode, E expert, K edge. Weights have no unit: a receiver weighs what it hears in proportion to
them.
"""

from collections.abc import Callable
from math import inf, isqrt
from numbers import Real
from typing import Any, NamedTuple, TypeAlias

import networkx as nx
import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from comms.names import pick


class EdgeList(NamedTuple):
    """The edges of one graph on the host, sorted by receiver, then by sender."""

    senders: Int[np.ndarray, "K"]
    receivers: Int[np.ndarray, "K"]
    weight: Float[np.ndarray, "K"]


class Edges(NamedTuple):
    """Who hears whom in each episode. An edge of weight 0 is dead: nothing crosses it."""

    senders: Int[Tensor, "B K"]
    receivers: Int[Tensor, "B K"]
    weight: Float[Tensor, "B K"]


Topology: TypeAlias = str | nx.Graph | Callable[[int], nx.Graph]


def ring(experts: int) -> nx.Graph:
    """A cycle; nobody neighbours itself, so that one expert is alone."""
    return nx.cycle_graph(experts) if experts > 1 else nx.empty_graph(experts)


def grid(experts: int) -> nx.Graph:
    """The most nearly square rectangle, row by row, with open borders; a line where the number is prime."""
    rows = next(r for r in range(isqrt(experts), 0, -1) if experts % r == 0)
    return nx.grid_2d_graph(rows, experts // rows)


def star(experts: int) -> nx.Graph:
    """Expert 0 is the hub of all the others."""
    return nx.star_graph(experts - 1)


def small_world(experts: int, *, neighbours: int = 4, rewire: float = 0.1, seed: int = 0) -> nx.Graph:
    """A ring of near neighbours with some edges rewired, connected (Watts and Strogatz 1998, Methods)."""
    if experts <= neighbours + 1:  # the ring is complete already
        return nx.complete_graph(experts)
    return nx.connected_watts_strogatz_graph(experts, neighbours, rewire, seed=seed)


def random_regular(experts: int, *, degree: int = 4, seed: int = 0) -> nx.Graph:
    """Everyone has `degree` random neighbours; fewer among few experts, or one fewer to make it possible."""
    degree = min(degree, experts - 1)
    return nx.random_regular_graph(degree - experts * degree % 2, experts, seed=seed)


TOPOLOGIES: dict[str, Callable[[int], nx.Graph]] = {
    "complete": nx.complete_graph,
    "ring": ring,
    "grid": grid,
    "star": star,
    "small_world": small_world,
    "random_regular": random_regular,
    "none": nx.empty_graph,
}


def edge_list(topology: Topology, experts: int) -> EdgeList:
    """The edges of `topology` among `experts` experts.

    `topology` is a name in TOPOLOGIES, a networkx graph (directed or not, weighted or not, multigraphs
    too), or a function from the number of experts to such a graph. An undirected edge goes both ways,
    parallel edges stay apart, and an edge without the attribute 'weight' weighs 1. Nodes labelled 0 to E-1
    are the experts of that number; with other labels they are numbered in the order of their insertion.

    Raises ValueError for an unknown name, no experts, a graph with another number of nodes, or a weight that
    is negative or not finite; TypeError for anything else than a topology.
    """
    if experts < 1:
        raise ValueError(f"experts={experts}, want at least 1")
    graph = _graph(topology, experts)
    labels = range(experts) if set(graph) == set(range(experts)) else graph
    number = {label: i for i, label in enumerate(labels)}
    rows = [(number[u], number[v], _weight(u, v, w)) for u, v, w in graph.edges(data="weight", default=1.0)]
    if not graph.is_directed():
        rows += [(v, u, w) for u, v, w in rows if u != v]
    table = np.array(rows, dtype=np.float64).reshape(-1, 3)  # float64 holds each index exactly
    senders, receivers = table[:, 0].astype(np.int64), table[:, 1].astype(np.int64)
    order = np.lexsort((senders, receivers))
    return EdgeList(senders[order], receivers[order], table[order, 2])


def connect(topology: Topology | EdgeList, experts: int, batch: int, like: Tensor) -> Edges:
    """The edges (B, K) of `batch` episodes, views of one row; device and weights' dtype are those of `like`.

    Takes what `edge_list` takes, and also what it gave: keep that, and networkx is not asked again. Raises
    as it does, and ValueError for an edge list of more experts.
    """
    rows = topology if isinstance(topology, EdgeList) else edge_list(topology, experts)
    top = max(rows.senders.max(initial=-1), rows.receivers.max(initial=-1))
    if top >= experts:
        raise ValueError(f"the edge list names expert {top}, want 0 to {experts - 1}: make it for {experts}")
    senders, receivers = (torch.tensor(x, device=like.device).expand(batch, -1) for x in rows[:2])
    weight = torch.tensor(rows.weight, device=like.device, dtype=like.dtype)
    return Edges(senders, receivers, weight.expand(batch, -1))


def _graph(topology: Topology, experts: int) -> nx.Graph:
    graph: Any = pick(TOPOLOGIES, topology, "topology") if isinstance(topology, str) else topology
    if callable(graph) and not isinstance(graph, nx.Graph):
        graph = graph(experts)
    if not isinstance(graph, nx.Graph):
        raise TypeError(
            f"topology {topology!r} gives {type(graph).__name__}, want a networkx graph: "
            f"give one, a function from the number of experts to one, or a name ({', '.join(TOPOLOGIES)})"
        )
    if len(graph) != experts:
        raise ValueError(
            f"the graph has {len(graph)} nodes, want experts={experts}: "
            "change one of the two, or give a function from the number of experts to a graph"
        )
    return graph


def _weight(u: object, v: object, weight: object) -> float:
    if not (isinstance(weight, Real) and 0 <= float(weight) < inf):
        raise ValueError(f"edge {u!r} -> {v!r} has weight {weight!r}, want a finite number >= 0 (0 is dead)")
    return float(weight)
