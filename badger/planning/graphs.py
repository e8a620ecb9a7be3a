"""The policy graph of alpha vectors: which plan follows which, after each observation.

Shapes: S state.
"""

import networkx as nx
import numpy as np

from badger.planning.alpha_vectors import AlphaVectors
from badger.planning.backup import Dynamics
from tasks.pomdp import PomdpModel

LEAST = 1e-9  # probability of an observation below which it is left out


def policy_graph(model: PomdpModel, policy: AlphaVectors, *, max_nodes: int = 1000) -> nx.DiGraph:
    """The plans that a policy follows from the start, as a graph.

    A node is the index of an alpha vector, with the attributes `action` (a name), `belief` (the first one at which it
    was reached) and `start` (whether the policy begins there). An edge has `observations`, a tuple of names. A vector
    whose best successor depends on the belief has the successors of the first belief.

    Args:
        model: the model.
        policy: alpha vectors of the model.
        max_nodes: at most so many nodes are followed; an observation that would lead to others has no edge.

    Raises:
        ValueError: max_nodes < 1.

    Source: Kaelbling, Littman and Cassandra 1998, section 5.
    """
    if max_nodes < 1:
        raise ValueError(f"max_nodes={max_nodes}, want at least 1")
    dynamics, graph = Dynamics(model), nx.DiGraph()
    start = model.start / model.start.sum()
    border = [_add_node(graph, model, policy, start, start=True)]
    for node in border:  # grows
        action = int(policy.actions[node])
        probability, following = (part[action] for part in dynamics.next_beliefs(graph.nodes[node]["belief"]))
        for o, belief in enumerate(following):
            if probability[o] <= LEAST:
                continue
            successor = int(policy.best(belief))
            if successor not in graph:
                if len(graph) == max_nodes:
                    continue
                border.append(_add_node(graph, model, policy, belief))
            seen = graph.edges[node, successor]["observations"] if graph.has_edge(node, successor) else ()
            graph.add_edge(node, successor, observations=(*seen, model.observations[o]))
    return graph


def _add_node(
    graph: nx.DiGraph, model: PomdpModel, policy: AlphaVectors, belief: np.ndarray, start: bool = False
) -> int:
    """Adds the plan that is best at a belief, and returns it."""
    node = int(policy.best(belief))
    graph.add_node(node, action=model.actions[int(policy.actions[node])], belief=belief, start=start)
    return node
