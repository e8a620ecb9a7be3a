"""Shortest paths in a random graph: the optimum is stitched together from pieces of random walks."""

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, NamedTuple

import networkx as nx
import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from tasks.observations import ObsPart
from tasks.task import Discrete, Step, Task, check_integer_action, check_positive

GOAL = 0


class RandomWalkGraphState(NamedTuple):
    """State of a walk.

    Args:
        node: where it is.
        start: where it began.
        total: the sum of rewards.
        t: the number of actions taken.
    """

    node: Int[Tensor, " B"]
    start: Int[Tensor, " B"]
    total: Float[Tensor, " B"]
    t: Int[Tensor, " B"]


class WalkTables(NamedTuple):
    """The graph as tables.

    Args:
        edges: which nodes are neighbors.
        distance: steps of the shortest path from each node to the goal.
        starts: the nodes where walks begin.
    """

    edges: Bool[Tensor, "V V"]
    distance: Int[Tensor, " V"]
    starts: Int[Tensor, " S"]


@dataclass(frozen=True)
class RandomWalkGraph(Task):
    """Shortest path to a goal node in a fixed random graph; each step costs 1 until the goal is reached.

    The graph is the random graph G(nodes, edge_probability) of the seed `graph`, undirected. Where a part of it is not
    connected to the goal, node 0, an edge between a random node of each is added. Walks begin at a random node with a
    path to the goal of at most `steps` steps, and are truncated after `steps` steps.

    Actions are integers (B,), the next node; only neighbors are allowed, and a walk stays where it is if another one
    is chosen. Observations (B, nodes) are the node, one-hot. The reward is 0 for the step to the goal, else -1.

    Scores, at the end: `shortest`, 1 if the goal was reached on a shortest path; `reached`; `episodic_return`.

    Args:
        steps: the longest walk.
        nodes: in the graph.
        edge_probability: of each pair of nodes.
        graph: the number of the graph, a seed.

    Raises:
        ValueError: fewer than 2 nodes, `steps` below 1, a probability that is none, or a negative `graph`.

    Source: after Chen et al. 2021 (arXiv:2106.01345), section 3.
    """

    steps: int = 10
    nodes: int = 20
    edge_probability: float = 0.1
    graph: int = 0

    fixed_length: ClassVar[bool] = False
    score: ClassVar[str] = "shortest"
    better: ClassVar[str] = "higher"

    def __post_init__(self) -> None:
        check_positive(steps=self.steps)
        if self.nodes < 2:
            raise ValueError(f"nodes={self.nodes}, want at least 2: a start and a goal")
        if not 0 <= self.edge_probability <= 1:
            raise ValueError(f"edge_probability={self.edge_probability}, want a probability from 0 to 1")
        if self.graph < 0:
            raise ValueError(f"graph={self.graph}, want at least 0")

    @property
    def obs_size(self) -> int:
        return self.nodes

    @property
    def obs_parts(self) -> tuple[ObsPart, ...]:
        return (ObsPart("one_hot", (self.nodes,)),)

    @property
    def action_space(self) -> Discrete:
        return Discrete(self.nodes)

    def tables(self, device: torch.device) -> WalkTables:
        """The graph, its distances to the goal, and the nodes where walks begin.

        Args:
            device: of the tables.
        """
        return _build_tables(self.nodes, self.edge_probability, self.graph, self.steps, device)

    def reset(self, batch: int, rng: torch.Generator) -> tuple[RandomWalkGraphState, Step]:
        starts = self.tables(rng.device).starts
        start = starts[torch.randint(len(starts), (batch,), generator=rng, device=rng.device)]
        zeros = torch.zeros(batch, dtype=self.dtype, device=rng.device)
        state = RandomWalkGraphState(start, start, zeros, torch.zeros_like(start))
        return state, self._make_step(state, zeros)

    def step(
        self, state: RandomWalkGraphState, action: Tensor, rng: torch.Generator
    ) -> tuple[RandomWalkGraphState, Step]:
        check_integer_action(self, action)
        node = torch.where(self.tables(action.device).edges[state.node, action], action, state.node)
        reward = (node == GOAL).to(self.dtype) - 1
        state = RandomWalkGraphState(node, state.start, state.total + reward, state.t + 1)
        return state, self._make_step(state, reward)

    def _make_step(self, state: RandomWalkGraphState, reward: Tensor) -> Step:
        tables = self.tables(state.node.device)
        reached = state.node == GOAL
        truncated = (state.t >= self.steps) & ~reached
        shortest = reached & (state.t == tables.distance[state.start])
        scores = {
            "shortest": shortest.to(self.dtype),
            "reached": reached.to(self.dtype),
            "episodic_return": state.total,
        }
        scores = {name: torch.where(reached | truncated, score, torch.nan) for name, score in scores.items()}
        obs = one_hot(state.node, self.nodes).to(self.dtype)
        return Step(obs, reward, reached, truncated, scores, action_mask=tables.edges[state.node])

    def references(self) -> dict[str, dict[str, float]]:
        """Of shortest paths, and of random walks: exact, over all starts."""
        edges, distance, starts = (table.numpy() for table in self.tables(torch.device("cpu")))
        walk = edges / edges.sum(1, keepdims=True)
        walk[GOAL] = np.eye(self.nodes)[GOAL]
        at_goal = np.stack([np.linalg.matrix_power(walk, t)[:, GOAL] for t in range(self.steps + 1)])  # (T + 1, V)
        chance = at_goal[distance[starts], starts].mean(), at_goal[-1, starts].mean()
        returns = (at_goal[1:, starts] - 1).sum(0).mean(), 1 - distance[starts].mean()
        return {
            "shortest": {"optimum": 1.0, "chance": float(chance[0])},
            "reached": {"optimum": 1.0, "chance": float(chance[1])},
            "episodic_return": {"optimum": float(returns[1]), "chance": float(returns[0])},
        }


def build_graph(nodes: int, edge_probability: float, seed: int) -> nx.Graph:
    """A random graph in which every node has a path to the goal.

    Args:
        nodes: number of nodes; the goal is node 0.
        edge_probability: of each pair of nodes.
        seed: of the graph.
    """
    rng = np.random.default_rng(seed)
    drawn = np.triu(rng.random((nodes, nodes)) < edge_probability, 1)
    graph = nx.from_numpy_array(drawn | drawn.T)
    for part in list(nx.connected_components(graph)):
        if GOAL not in part:
            connected = nx.node_connected_component(graph, GOAL)
            graph.add_edge(int(rng.choice(sorted(part))), int(rng.choice(sorted(connected))))
    return graph


@lru_cache(maxsize=16)
def _build_tables(nodes: int, edge_probability: float, seed: int, steps: int, device: torch.device) -> WalkTables:
    graph = build_graph(nodes, edge_probability, seed)
    lengths = nx.single_source_shortest_path_length(graph, GOAL)
    distance = np.array([lengths[node] for node in range(nodes)])
    starts = np.flatnonzero((distance > 0) & (distance <= steps))
    edges = nx.to_numpy_array(graph, nodelist=range(nodes)) > 0
    return WalkTables(*(torch.as_tensor(table).to(device) for table in (edges, distance, starts)))
