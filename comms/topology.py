"""Names, callables, edge lists and networkx graphs become edges: an edge i -> j lets expert j hear expert i.

All work on graphs is done on the host, once for a topology and a number of experts (`edge_list`); `make_edges` puts it on
the device, and `expand_batch` then gives each batch of episodes its `Edges`, cheaply.

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

from comms.generators import TOPOLOGIES, EdgeList
from comms.lookup import get_by_name


class Edges(NamedTuple):
    """Who hears whom in each episode. An edge of weight 0 is dead: nothing crosses it.

    The first three are all that there is to say. The others spare the buses most of their work in a graph where
    everyone hears equally many different senders, N. Whoever changes senders, receivers or their order leaves them
    out; a change of weights alone keeps them: it makes another tensor than `log_weight_source`, which is seen without comparing
    numbers.
    """

    senders: Int[Tensor, "B K"]
    receivers: Int[Tensor, "B K"]
    weight: Float[Tensor, "B K"]
    layout_index: Int[Tensor, "B *_"] | None = (
        None  # (B, N, E) senders; (B, K) an edge's place where all pairs are held
    )
    log_weight: Float[Tensor, "B _ _ _"] | None = (
        None  # of the weights: (B, N, E, 1); (B, 1, sender, receiver) of all pairs
    )
    log_weight_source: Float[Tensor, "B K"] | None = None  # the very tensor of weights from which logs was made

    @property
    def unmodified(self) -> bool:
        """Whether all edges are alive, with the weights of the topology: nobody has changed or learns them."""
        return self.log_weight_source is self.weight


Topology: TypeAlias = str | nx.Graph | EdgeList | Callable[[int], nx.Graph | EdgeList]


def edge_list(topology: Topology, experts: int) -> EdgeList:
    """The edges of `topology` among `experts` experts.

    `topology` is a name in TOPOLOGIES, a networkx graph (directed or not, weighted or not, multigraphs
    too), an edge list, or a function from the number of experts to a graph or an edge list. An undirected edge goes
    both ways, parallel edges stay apart, and an edge without the attribute 'weight' weighs 1. Nodes labelled 0 to E-1
    are the experts of that number; with other labels they are numbered in the order of their insertion.

    Raises ValueError for an unknown name, no experts, a graph with another number of nodes, an edge list whose parts
    differ in length or that names other experts, or a weight that is negative or not finite; TypeError for anything
    else than a topology.
    """
    if experts < 1:
        raise ValueError(f"experts={experts}, want at least 1")
    graph: Any = get_by_name(TOPOLOGIES, topology, "topology") if isinstance(topology, str) else topology
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


def make_edges(topology: Topology, experts: int, batch: int, like: Tensor) -> Edges:
    """The edges (B, K) of `batch` episodes, views of one row; device and weights' dtype are those of `like`.

    Takes what `edge_list` takes, and also what it gave: keep that, and networkx is not asked again. Raises
    as it does.
    """
    rows = edge_list(topology, experts)
    senders, receivers = (torch.tensor(x, device=like.device).unsqueeze(0) for x in rows[:2])
    weight = torch.tensor(rows.weight, device=like.device, dtype=like.dtype).unsqueeze(0)
    edges = Edges(senders, receivers, weight)
    if _is_regular(rows, experts):
        edges = _with_layout(edges, experts)
        if not rows.weight.all():
            edges = edges._replace(log_weight=None, log_weight_source=None)
    return expand_batch(edges, batch)


def expand_batch(edges: Edges, batch: int) -> Edges:
    """The edges of one episode as those of `batch` episodes, without memory of their own."""
    return map_edges(edges, lambda x: x.expand(batch, *x.shape[1:]))


def map_edges(edges: Edges, change: Callable[[Tensor], Tensor]) -> Edges:
    """Edges with each of their tensors changed alike; those that are as connected stay so."""
    other = Edges(*(None if x is None else change(x) for x in edges))  # type: ignore[arg-type]
    return other._replace(log_weight_source=other.weight) if edges.unmodified else other


def is_dense(experts: int, edges: int) -> bool:
    """Whether buses hold a matrix of all pairs; of the shapes alone, without synchronisation."""
    return experts**2 <= 4 * edges


def max_edge_weights(edges: Edges, experts: int) -> tuple[Float[Tensor, "B E"], Float[Tensor, "B E"]]:
    """The largest weight among each expert's outgoing edges, and among its incoming ones; 0 where none is alive."""
    none = edges.weight.new_zeros(edges.weight.shape[0], experts)
    said, heard = (none.scatter_reduce(1, ends, edges.weight, "amax") for ends in edges[:2])
    return said, heard


def _with_layout(edges: Edges, experts: int) -> Edges:
    """The edges (1, K) of a regular graph, with all that buses want to know of them."""
    weight = edges.weight
    if is_dense(experts, weight.shape[1]):
        places = edges.senders * experts + edges.receivers
        pairs = weight.new_zeros(1, experts**2).scatter(1, places, weight)
        return edges._replace(
            layout_index=places, log_weight=pairs.log().view(1, 1, experts, experts), log_weight_source=weight
        )
    places, near = (x.view(1, experts, -1).mT.contiguous() for x in (edges.senders, weight))
    return edges._replace(layout_index=places, log_weight=near.log().unsqueeze(-1), log_weight_source=weight)


def _is_regular(rows: EdgeList, experts: int) -> bool:
    """Whether everyone hears equally many different senders."""
    count, rest = divmod(len(rows.senders), experts)
    if rest or not count or (rows.receivers != np.arange(experts).repeat(count)).any():
        return False
    return bool((np.diff(rows.senders.reshape(experts, count)) > 0).all())


def _checked(rows: EdgeList, experts: int) -> EdgeList:
    """The edge list in its order, if it is one for so many experts."""
    senders, receivers, weight = rows
    shapes = {name: np.shape(part) for name, part in rows._asdict().items()}
    if len(set(shapes.values())) > 1 or len(shapes["senders"]) != 1:
        raise ValueError(f"the edge list has the shapes {shapes}, want three arrays (edges,): a number of each an edge")
    if not senders.dtype.kind == receivers.dtype.kind == "i":
        raise ValueError(f"senders and receivers are {senders.dtype} and {receivers.dtype}, want integers: experts")
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
