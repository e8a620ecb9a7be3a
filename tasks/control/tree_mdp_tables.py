"""Random tree-structured Markov decision processes as tables, many trees at once, and their exact values.

A node at depth d is a number k below (A B)^d; outcome b of its action a is node k A B + a B + b at depth d + 1.

Shapes: N tree, S node of a depth, A action, B successor of an action.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

Tables = Sequence[np.ndarray]
"""One array (N, S, A) for each depth, from the root to the last choice."""


class Trees(NamedTuple):
    """Trees with known probabilities and mean rewards.

    Args:
        probabilities: of the outcomes, for each depth (N, S, A, B).
        means: mean reward of each leaf, (N, S).
    """

    probabilities: tuple[np.ndarray, ...]
    means: np.ndarray


def sample_trees(trees: int, depth: int, actions: int, branching: int, rng: np.random.Generator) -> Trees:
    """Random trees: probabilities are uniform over the simplex (Dirichlet(1)), mean rewards standard normal.

    Args:
        trees: their number N.
        depth: number of choices from the root to a leaf.
        actions: of each node, A.
        branching: successors of each action, B.
        rng: draws them.
    """
    nodes = [(actions * branching) ** d for d in range(depth + 1)]
    probabilities = tuple(rng.dirichlet(np.ones(branching), (trees, count, actions)) for count in nodes[:-1])
    return Trees(probabilities, rng.normal(size=(trees, nodes[-1])))


def expected(values: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Mean value of the successors of each action, (N, S, A).

    Args:
        values: of the nodes of the next depth, (N, S A B).
        probabilities: of the outcomes, (N, S, A, B).
    """
    return (probabilities * values.reshape(probabilities.shape)).sum(-1)


def optimal_values(trees: Trees) -> np.ndarray:
    """Value of the optimal policy at the root, (N,), by dynamic programming.

    Args:
        trees: the trees.
    """
    values = trees.means
    for probabilities in reversed(trees.probabilities):
        values = expected(values, probabilities).max(-1)
    return values[:, 0]


def greedy_values(trees: Trees, action_values: Tables) -> np.ndarray:
    """True value at the root, (N,), of the policy that takes the action of the highest estimate, ties at random.

    Args:
        trees: the trees.
        action_values: estimates, which may be infinite; where all are equal, actions are uniformly random.
    """
    values = trees.means
    for probabilities, estimates in zip(reversed(trees.probabilities), reversed(action_values), strict=True):
        best = estimates == estimates.max(-1, keepdims=True)
        values = (expected(values, probabilities) * best).sum(-1) / best.sum(-1)
    return values[:, 0]


def random_values(trees: Trees) -> np.ndarray:
    """Value of uniformly random actions at the root, (N,).

    Args:
        trees: the trees.
    """
    return greedy_values(trees, [np.zeros(probabilities.shape[:-1]) for probabilities in trees.probabilities])
