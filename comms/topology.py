"""Names, callables, edge lists and networkx graphs become edges: an edge i -> j lets expert j hear expert i.

All work on graphs is done on the host, once for a topology and a number of experts (`edge_list`); `connect` puts it on
the device, and `repeat` then gives each batch of episodes its `Edges`, cheaply.

Axes: B episode, E expert, K edge, N neighbour. Weights have no unit: a receiver weighs what it hears in proportion to
them.
"""

from collections.abc import Callable
from math import inf
from numbers import Real
from typing import Any, NamedTuple, NoReturn, TypeAlias

import networkx as nx
import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from comms.graphs import TOPOLOGIES, EdgeList
from comms.names import pick


class Table(NamedTuple):
    """The edges of a graph in which everyone hears equally many different senders: buses are much quicker so.

    Edge j N + n of the list goes from neighbours[:, n, j] to j. `weight` is the very tensor of the edges from which
    `logs` was made, so that a change of weights, which makes another tensor, is seen without comparing numbers.
    """

    neighbours: Int[Tensor, "B N E"]
    weight: Float[Tensor, "B K"] | None  # None where some edges are dead from the start
    logs: Float[Tensor, "B _ _ _"] | None  # of the weights, as `tabulate` lays them out


class Edges(NamedTuple):
    """Who hears whom in each episode. An edge of weight 0 is dead: nothing crosses it.

    Whoever changes senders, receivers or their order leaves out the table; a change of weights alone keeps it.
    """

    senders: Int[Tensor, "B K"]
    receivers: Int[Tensor, "B K"]
    weight: Float[Tensor, "B K"]
    table: Table | None = None


Topology: TypeAlias = str | nx.Graph | EdgeList | Callable[[int], nx.Graph | EdgeList]


def edge_list(topology: Topology, experts: int) -> EdgeList:
    """The edges of `topology` among `experts` experts.

    `topology` is a name in TOPOLOGIES, a networkx graph (directed or not, weighted or not, multigraphs
    too), an edge list, or a function from the number of experts to a graph or an edge list. An undirected edge goes
    both ways, parallel edges stay apart, and an edge without the attribute 'weight' weighs 1. Nodes labelled 0 to E-1
    are the experts of that number; with other labels they are numbered in the order of their insertion.

    Raises ValueError for an unknown name, no experts, a graph with another number of nodes, an edge list that names
    other experts, or a weight that is negative or not finite; TypeError for anything else than a topology.
    """
    if experts < 1:
        raise ValueError(f"experts={experts}, want at least 1")
    graph: Any = pick(TOPOLOGIES, topology, "topology") if isinstance(topology, str) else topology
    if callable(graph) and not isinstance(graph, nx.Graph):
        graph = graph(experts)
    if isinstance(graph, EdgeList):
        return _checked(graph, experts)
    if isinstance(graph, nx.Graph):
        return _from_networkx(graph, experts)
    raise TypeError(
        f"topology {topology!r} gives {type(graph).__name__}, want a networkx graph or an EdgeList: "
        f"give one, a function from the number of experts to one, or a name ({', '.join(TOPOLOGIES)})"
    )


def connect(topology: Topology, experts: int, batch: int, like: Tensor) -> Edges:
    """The edges (B, K) of `batch` episodes, views of one row; device and weights' dtype are those of `like`.

    Takes what `edge_list` takes, and also what it gave: keep that, and networkx is not asked again. Raises
    as it does.
    """
    rows = edge_list(topology, experts)
    senders, receivers = (torch.tensor(x, device=like.device).unsqueeze(0) for x in rows[:2])
    weight = torch.tensor(rows.weight, device=like.device, dtype=like.dtype).unsqueeze(0)
    table = None
    if _is_regular(rows, experts):
        neighbours = senders.view(1, experts, -1).mT.contiguous()
        alive = bool(rows.weight.all())
        table = Table(neighbours, weight, tabulate(weight, neighbours).log()) if alive else Table(neighbours, None, None)
    return repeat(Edges(senders, receivers, weight, table), batch)


def repeat(edges: Edges, batch: int) -> Edges:
    """The edges of one episode as those of `batch` episodes, without memory of their own."""

    def many(x: Tensor) -> Tensor:
        return x.expand(batch, *x.shape[1:])

    senders, receivers, weight = (many(x) for x in edges[:3])
    table = edges.table
    if table is not None and table.logs is not None and table.weight is edges.weight:
        table = Table(many(table.neighbours), weight, many(table.logs))
    elif table is not None:
        table = Table(many(table.neighbours), None, None)
    return Edges(senders, receivers, weight, table)


def is_dense(experts: int, edges: int) -> bool:
    """Whether a matrix of all pairs costs no more than a list of edges: of the shapes alone, no synchronisation."""
    return experts**2 <= 4 * edges


def tabulate(weight: Float[Tensor, "B K"], neighbours: Int[Tensor, "B N E"]) -> Float[Tensor, "B _ _ _"]:
    """Weights of a table's edges, (B, 1, sender, receiver) of all pairs where that is dense, else (B, N, receiver, 1)."""
    _, count, experts = neighbours.shape
    near = weight.unflatten(1, (experts, count)).mT
    if not is_dense(experts, weight.shape[1]):
        return near.unsqueeze(-1)
    return weight.new_zeros(len(weight), experts, experts).scatter(1, neighbours, near).unsqueeze(1)


def _is_regular(rows: EdgeList, experts: int) -> bool:
    """Whether everyone hears equally many different senders."""
    count, rest = divmod(len(rows.senders), experts)
    if rest or not count or (rows.receivers != np.arange(experts).repeat(count)).any():
        return False
    return bool((np.diff(rows.senders.reshape(experts, count)) > 0).all())


def _checked(rows: EdgeList, experts: int) -> EdgeList:
    """The edge list in its order, if it is one for so many experts."""
    senders, receivers, weight = rows
    ends = np.concatenate([senders, receivers])
    if ends.size and not 0 <= ends.min() <= ends.max() < experts:
        wrong = ends.min() if ends.min() < 0 else ends.max()
        raise ValueError(f"the edge list names expert {wrong}, want 0 to {experts - 1}: make it for {experts}")
    bad = np.flatnonzero(~((weight >= 0) & (weight < inf)))
    if bad.size:
        _refuse(*(x[bad[0]].item() for x in rows))
    keys = receivers * experts + senders
    if (np.diff(keys) < 0).any():
        order = np.argsort(keys, kind="stable")
        return EdgeList(senders[order], receivers[order], weight[order])
    return rows


def _from_networkx(graph: nx.Graph, experts: int) -> EdgeList:
    if len(graph) != experts:
        raise ValueError(
            f"the graph has {len(graph)} nodes, want experts={experts}: "
            "change one of the two, or give a function from the number of experts to a graph"
        )
    edges = list(graph.edges(data="weight", default=1.0))
    for u, v, w in edges:
        if not (isinstance(w, Real) and 0 <= float(w) < inf):
            _refuse(u, v, w)
    labels = range(experts) if set(graph) == set(range(experts)) else graph
    number = {label: i for i, label in enumerate(labels)}
    ends = np.array([(number[u], number[v]) for u, v, _ in edges], dtype=np.int64).reshape(-1, 2)
    weight = np.array([w for _, _, w in edges], dtype=np.float64)
    if not graph.is_directed():
        back = ends[:, 0] != ends[:, 1]
        ends, weight = np.concatenate([ends, ends[back, ::-1]]), np.concatenate([weight, weight[back]])
    return _checked(EdgeList(ends[:, 0], ends[:, 1], weight), experts)


def _refuse(u: object, v: object, weight: object) -> NoReturn:
    raise ValueError(f"edge {u!r} -> {v!r} has weight {weight}, want a finite number >= 0 (0 is dead)")
