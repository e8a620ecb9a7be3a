"""A random topology that is drawn anew for each episode.

Axes: G graph, B episode, K edge.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import networkx as nx
import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from comms.generators import TOPOLOGIES, EdgeList
from comms.lookup import get_by_name
from comms.topology import Edges, edge_list, is_unmodified, list_edges, map_edges


@dataclass(frozen=True)
class PerEpisode:
    """A topology with one of several random graphs in each episode, chosen with equal probability.

    The graphs are made once, on the host, with the seeds seed, seed + 1, ...; an episode draws the index of its graph
    on the device, without a synchronization. Graphs with fewer edges than others are padded with inactive edges.

    Args:
        topology: a name in TOPOLOGIES, or a function of the number of experts, that has a keyword argument `seed`.
        graphs: the number G of different graphs; they take G times the memory of one.
        seed: of the first graph.

    Raises:
        ValueError: an unknown name, a topology without a seed, or graphs < 1.

    Example: `Agent(..., topology=PerEpisode("small_world", graphs=256))`.
    """

    topology: str | Callable[..., nx.Graph | EdgeList]
    graphs: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        if self.graphs < 1:
            raise ValueError(f"graphs={self.graphs}, want at least 1")
        if "seed" not in inspect.signature(self._function).parameters:
            raise ValueError(
                f"topology {self.topology!r} has no argument seed, so it is the same in every episode: give it to the "
                "agent without PerEpisode, or take a random one such as 'random_regular' or 'small_world'"
            )

    def make_edges(self, experts: int, like: Tensor) -> Edges:
        """The edges (G, K) of all graphs.

        Args:
            experts: E.
            like: gives the device, and the dtype of the weights.

        Raises:
            ValueError: as `edge_list`.
        """
        return stack_graphs(self.edge_lists(experts), experts, experts, like)

    def edge_lists(self, experts: int) -> list[EdgeList]:
        """The edge lists of all graphs.

        Args:
            experts: E.

        Raises:
            ValueError: as `edge_list`.
        """
        seeds = range(self.seed, self.seed + self.graphs)
        return [edge_list(self._function(experts, seed=seed), experts) for seed in seeds]

    def first(self, experts: int) -> nx.Graph | EdgeList:
        """The first of the graphs, as a topology of its own.

        Args:
            experts: E.
        """
        return self._function(experts, seed=self.seed)

    @property
    def _function(self) -> Callable[..., nx.Graph | EdgeList]:
        return get_by_name(TOPOLOGIES, self.topology, "topology") if isinstance(self.topology, str) else self.topology


def stack_graphs(lists: Sequence[EdgeList], senders: int, receivers: int, like: Tensor) -> Edges:
    """The edges (G, K) of several graphs.

    Args:
        lists: the sorted edge list of each.
        senders: as in `comms.topology.list_edges`.
        receivers: as in `comms.topology.list_edges`.
        like: gives the device, and the dtype of the weights.
    """
    size = max(len(rows.senders) for rows in lists)
    made = [list_edges(_padded(rows, size, receivers - 1), senders, receivers, like) for rows in lists]
    if len(made) == 1:
        return made[0]
    if any(edges.log_weight_source is None for edges in made):  # not regular: no cached fields
        made = [Edges(*edges[:3]) for edges in made]
    parts = zip(*(edges[:5] for edges in made), strict=True)
    edges = Edges(*(None if part[0] is None else torch.cat(part) for part in parts))  # type: ignore[arg-type]
    return edges if edges.log_weight is None else edges._replace(log_weight_source=edges.weight)


def select_graphs(edges: Edges, graph: Int[Tensor, " B"]) -> Edges:
    """The edges (B, K) of each episode.

    Args:
        edges: of all graphs, (G, K).
        graph: the index of each episode's graph.
    """
    return map_edges(edges, lambda part: part.index_select(0, graph))


def where_edges(mask: Tensor, new: Edges, old: Edges) -> Edges:
    """New edges in the rows of a mask, and old ones elsewhere.

    Args:
        mask: (B,).
        new: (B, K).
        old: (B, K), of the same layout.
    """
    parts = (
        None if a is None or b is None else torch.where(mask.view(-1, *[1] * (a.dim() - 1)), a, b)
        for a, b in zip(new, old, strict=True)
    )
    edges = Edges(*parts)  # type: ignore[arg-type]
    return edges._replace(log_weight_source=edges.weight) if is_unmodified(new) and is_unmodified(old) else edges


def _padded(rows: EdgeList, size: int, last: int) -> EdgeList:
    """The edge list with inactive edges of the last receiver to itself appended."""
    missing = size - len(rows.senders)
    ends = np.full(missing, last)
    return EdgeList(*(np.concatenate(pair) for pair in zip(rows, (ends, ends, np.zeros(missing)), strict=True)))
