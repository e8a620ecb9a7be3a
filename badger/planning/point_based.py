"""Point-based value iteration: backups at a set of beliefs that are reached from the start, a lower bound.

Shapes: B belief, S state.
"""

import numpy as np

from badger.planning.alpha_vectors import AlphaVectors
from badger.planning.backup import Dynamics
from badger.planning.bounds import best_blind
from tasks.pomdp import PomdpModel


def point_based_value_iteration(
    model: PomdpModel, *, beliefs: int = 200, iterations: int = 200, seed: int = 0
) -> AlphaVectors:
    """Point-based value iteration in the manner of Perseus: a lower bound, whose policy is at least as good.

    In each iteration a backup is made at a random belief of those whose value is not yet improved, until all are.

    Args:
        model: with a discount below 1.
        beliefs: number of beliefs, reached by random actions.
        iterations: number of iterations.
        seed: of the random numbers.

    Raises:
        ValueError: a discount of 1, or a number below 1.

    Source: Spaan and Vlassis 2005, Perseus; the bound begins with blind policies, not with the smallest reward.
    """
    for name, value in {"beliefs": beliefs, "iterations": iterations}.items():
        if value < 1:
            raise ValueError(f"{name}={value}, want at least 1")
    lower, dynamics, rng = best_blind(model), Dynamics(model), np.random.default_rng(seed)
    points = reachable_beliefs(dynamics, beliefs, rng)
    for _ in range(iterations):
        before = lower.value(points)
        vectors, actions, values = [], [], np.full(len(points), -np.inf)
        while (values < before).any():
            point = rng.choice(np.flatnonzero(values < before))
            vector, action = dynamics.backup(lower, points[point])
            if vector @ points[point] < before[point]:  # by rounding: the old vector is kept
                best = lower.best(points[point])
                vector, action = lower.vectors[best], int(lower.actions[best])
                values[point] = before[point]
            vectors.append(vector)
            actions.append(action)
            values = np.maximum(values, points @ vector)
        lower = AlphaVectors(np.array(vectors), np.array(actions))
    return lower


def reachable_beliefs(dynamics: Dynamics, count: int, rng: np.random.Generator) -> np.ndarray:
    """Beliefs on a walk of random actions that begins anew from the start now and then, (B, S); the start is first.

    Args:
        dynamics: of the model.
        count: number of beliefs.
        rng: of the actions and observations.
    """
    actions, observations = dynamics.shape
    start = dynamics.model.start / dynamics.model.start.sum()
    found, belief = [start], start
    while len(found) < count:
        probability, following = dynamics.next_beliefs(belief)
        action = rng.integers(actions)
        observation = rng.choice(observations, p=probability[action] / probability[action].sum())
        belief = start if rng.random() < 0.02 else following[action, observation]
        found.append(belief)
    return np.array(found)
