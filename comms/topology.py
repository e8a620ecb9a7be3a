"""Communication graphs: names, networkx graphs, edge lists and functions become batched tensors of edges.

An edge i -> j carries messages from expert i to expert j. All graph algorithms run on the host, once for a topology and
a number of experts (`edge_list`); `make_edges` copies the result to the device, and `expand_batch` makes the `Edges` of
a batch of episodes as views of it.

Axes: B episode, E expert, K edge, N neighbor. Weights have no unit: a receiver weighs its messages in proportion to
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
    """The communication graph of each episode. An edge of weight 0 is inactive: it carries no message.

    The first three fields define the graph. The others are caches that make the buses faster on graphs in which all
    receivers have N different senders. Leave them out where senders, receivers or their order change. A change of
    weights alone may keep them: `log_weight` is used only while `weight` is `log_weight_source`, compared by identity
    (`is_unmodified`).

    Args:
        senders: the expert that sends along each edge.
        receivers: the expert that receives.
        weight: >= 0.
        layout_index: (B, N, E) senders of each receiver; for dense graphs (B, K), the index of an edge among all pairs.
        log_weight: logarithms of the weights, (B, N, E, 1); for dense graphs (B, 1, sender, receiver).
        log_weight_source: the tensor of weights from which `log_weight` was computed.
    """

    senders: Int[Tensor, "B K"]
    receivers: Int[Tensor, "B K"]
    weight: Float[Tensor, "B K"]
    layout_index: Int[Tensor, "B *_"] | None = None
    log_weight: Float[Tensor, "B _ _ _"] | None = None
    log_weight_source: Float[Tensor, "B K"] | None = None


def is_unmodified(edges: Edges) -> bool:
    """Whether all edges are active, with the constant weights of the topology.

    Args:
        edges: the communication graph.
    """
    return edges.log_weight_source is edges.weight


Topology: TypeAlias = str | nx.Graph | EdgeList | Callable[[int], nx.Graph | EdgeList]
"""A name in TOPOLOGIES, a networkx graph, an edge list, or a function from the number of experts to either."""


def edge_list(topology: Topology, experts: int) -> EdgeList:
    """The edge list of a topology among a given number of experts.

    An undirected edge becomes two directed ones, parallel edges are kept, and an edge without the attribute `weight`
    has weight 1. Nodes labelled 0 to E-1 are the experts of those indices; other labels are numbered in the order of
    their insertion.

    Args:
        topology: a name in TOPOLOGIES, a networkx graph (directed or not, weighted or not, also a multigraph), an edge
            list, or a function from the number of experts to a graph or an edge list.
        experts: E.

    Raises:
        ValueError: an unknown name; experts < 1; a graph with another number of nodes; an edge list whose arrays differ
            in length or that names other experts; a weight that is negative or not finite.
        TypeError: not a topology.
    """
    if experts < 1:
        raise ValueError(f"experts={experts}, want at least 1")
    graph: Any = get_by_name(TOPOLOGIES, topology, "topology") if isinstance(topology, str) else topology
    if callable(graph) and not isinstance(graph, nx.Graph):
        graph = graph(experts)
    if isinstance(graph, EdgeList):
        return _check_edge_list(graph, experts)
    if isinstance(graph, nx.Graph):
        return _from_networkx(graph, experts)
    raise TypeError(
        f"topology {topology!r} gives {type(graph).__name__}, want a networkx graph or an EdgeList: "
        f"give one, a function from the number of experts to one, or a name ({', '.join(TOPOLOGIES)})"
    )


def make_edges(topology: Topology, experts: int, batch: int, like: Tensor) -> Edges:
    """The edges (B, K) of a batch of episodes, as views of one row.

    Args:
        topology: as in `edge_list`; its result avoids repeated graph algorithms.
        experts: E.
        batch: B.
        like: gives the device, and the dtype of the weights.

    Raises:
        ValueError: as `edge_list`.
        TypeError: as `edge_list`.
    """
    return expand_batch(list_edges(edge_list(topology, experts), experts, experts, like), batch)


def list_edges(rows: EdgeList, senders: int, receivers: int, like: Tensor) -> Edges:
    """The edges (1, K) of a sorted edge list.

    Args:
        rows: sorted by receiver, then by sender.
        senders: number of experts that may send.
        receivers: number of experts that may receive, the first of those; the inboxes of others are not used.
        like: gives the device, and the dtype of the weights.
    """
    ends = [torch.tensor(x, device=like.device).unsqueeze(0) for x in rows[:2]]
    edges = Edges(ends[0], ends[1], torch.tensor(rows.weight, device=like.device, dtype=like.dtype).unsqueeze(0))
    dense = is_dense(senders, len(rows.senders))
    if _is_regular(rows, receivers) and not (dense and senders > receivers):
        edges = _with_dense_layout(edges, senders) if dense else _with_regular_layout(edges, receivers)
        if not rows.weight.all():
            edges = edges._replace(log_weight=None, log_weight_source=None)
    return edges


def expand_batch(edges: Edges, batch: int) -> Edges:
    """The edges of one episode repeated for a batch, as views without memory of their own.

    Args:
        edges: of one episode, (1, K).
        batch: B.
    """
    return map_edges(edges, lambda x: x.expand(batch, *x.shape[1:]))


def map_edges(edges: Edges, fn: Callable[[Tensor], Tensor]) -> Edges:
    """Applies a function to each tensor of the edges; unmodified edges stay unmodified.

    Args:
        edges: the communication graph.
        fn: a function of a tensor with the batch axis first, such as indexing or `Tensor.detach`.
    """
    mapped = Edges(*(None if x is None else fn(x) for x in edges))  # type: ignore[arg-type]
    return mapped._replace(log_weight_source=mapped.weight) if is_unmodified(edges) else mapped


def is_dense(experts: int, edges: int) -> bool:
    """Whether buses use a matrix over all pairs. Depends on shapes alone: no synchronization.

    Args:
        experts: E.
        edges: K.
    """
    return experts**2 <= 4 * edges


def max_edge_weights(edges: Edges, experts: int) -> tuple[Float[Tensor, "B E"], Float[Tensor, "B E"]]:
    """The largest weight of each expert's outgoing edges, and of its incoming ones; 0 without active edges.

    Args:
        edges: the communication graph.
        experts: E.
    """
    zeros = edges.weight.new_zeros(edges.weight.shape[0], experts)
    outgoing, incoming = (zeros.scatter_reduce(1, index, edges.weight, "amax") for index in edges[:2])
    return outgoing, incoming


def _with_dense_layout(edges: Edges, experts: int) -> Edges:
    """The edges (1, K) of a dense regular graph, with the cached fields."""
    weight, index = edges.weight, edges.senders * experts + edges.receivers
    pairs = weight.new_zeros(1, experts**2).scatter(1, index, weight)
    return edges._replace(
        layout_index=index, log_weight=pairs.log().view(1, 1, experts, experts), log_weight_source=weight
    )


def _with_regular_layout(edges: Edges, receivers: int) -> Edges:
    """The edges (1, K) of a sparse regular graph, with the cached fields."""
    weight = edges.weight
    index, weights = (x.view(1, receivers, -1).mT.contiguous() for x in (edges.senders, weight))
    return edges._replace(layout_index=index, log_weight=weights.log().unsqueeze(-1), log_weight_source=weight)


def _is_regular(rows: EdgeList, receivers: int) -> bool:
    """Whether all receivers have equally many different senders."""
    count, remainder = divmod(len(rows.senders), receivers)
    if remainder or not count or (rows.receivers != np.arange(receivers).repeat(count)).any():
        return False
    return bool((np.diff(rows.senders.reshape(receivers, count)) > 0).all())


def _check_edge_list(rows: EdgeList, experts: int) -> EdgeList:
    """Checks an edge list against the number of experts, and sorts it by receiver, then by sender."""
    senders, receivers, weight = rows
    shapes = {name: np.shape(part) for name, part in rows._asdict().items()}
    if len(set(shapes.values())) > 1 or len(shapes["senders"]) != 1:
        raise ValueError(f"the edge list has the shapes {shapes}, want three arrays of the shape (edges,)")
    if not senders.dtype.kind == receivers.dtype.kind == "i":
        raise ValueError(
            f"senders and receivers are {senders.dtype} and {receivers.dtype}, want integers, the indices of experts"
        )
    ends = np.concatenate([senders, receivers])
    if ends.size and not 0 <= ends.min() <= ends.max() < experts:
        invalid = ends.min() if ends.min() < 0 else ends.max()
        raise ValueError(f"the edge list names expert {invalid}, want 0 to {experts - 1}: make it for {experts}")
    invalid_weights = np.flatnonzero(~((weight >= 0) & (weight < inf)))
    if invalid_weights.size:
        _raise_invalid_weight(*(x[invalid_weights[0]].item() for x in rows))
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
            _raise_invalid_weight(u, v, w)
    labels = range(experts) if set(graph) == set(range(experts)) else graph
    index = {label: i for i, label in enumerate(labels)}
    ends = np.array([(index[u], index[v]) for u, v, _ in edges], dtype=np.int64).reshape(-1, 2)
    weight = np.array([w for _, _, w in edges], dtype=np.float64)
    if not graph.is_directed():
        no_loop = ends[:, 0] != ends[:, 1]
        ends = np.concatenate([ends, ends[no_loop, ::-1]])
        weight = np.concatenate([weight, weight[no_loop]])
    return _check_edge_list(EdgeList(ends[:, 0], ends[:, 1], weight), experts)


def _raise_invalid_weight(u: object, v: object, weight: object) -> NoReturn:
    raise ValueError(f"edge {u!r} -> {v!r} has weight {weight}, want a finite number >= 0 (0: inactive)")
