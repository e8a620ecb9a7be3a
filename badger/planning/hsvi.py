"""Heuristic search value iteration (HSVI): lower and upper bounds of the value at the start that approach each other.

Shapes: A action, O observation, S state.
"""

import math
import time
from dataclasses import dataclass

import numpy as np

from badger.planning.alpha_vectors import AlphaVectors
from badger.planning.backup import Dynamics
from badger.planning.bounds import best_blind, fast_informed_bound
from badger.planning.sawtooth import SawtoothBound
from tasks.pomdp import PomdpModel


@dataclass(frozen=True)
class Bracket:
    """Bounds of the optimal value at the start, and the policy that reaches the lower one.

    Args:
        lower: at least this is what the policy gets.
        upper: at most this is what any policy gets.
        policy: alpha vectors of the lower bound.
        points: number of beliefs that hold the upper bound.
        trials: walks from the start that were made.
    """

    lower: float
    upper: float
    policy: AlphaVectors
    points: int
    trials: int


def heuristic_search(model: PomdpModel, precision: float = 1e-3, *, seconds: float = math.inf) -> Bracket:
    """Bounds of the optimal value at the start belief by heuristic search value iteration (HSVI).

    Each trial walks from the start: by the action that is best under the upper bound, to the observation whose belief
    contributes most to the gap. On the way back both bounds are improved at each belief of the walk.

    Args:
        model: with a discount below 1.
        precision: largest gap at the start.
        seconds: time after which the bounds so far are returned.

    Raises:
        ValueError: a discount of 1, or a precision that is not above 0.

    Source: Smith and Simmons 2005, Point-based POMDP algorithms: improved analysis and implementation.
    """
    if not precision > 0:
        raise ValueError(f"precision={precision}, want a number above 0")
    search = _Search(model)
    start, began, trials = model.start / model.start.sum(), time.monotonic(), 0
    while search.gap(start) > precision and time.monotonic() - began <= seconds:
        search.walk(start, precision)
        trials += 1
    upper = float(search.upper.value(start[None])[0])
    return Bracket(float(search.lower.value(start)), upper, search.lower, len(search.upper), trials)


class _Search:
    def __init__(self, model: PomdpModel):
        self.model, self.dynamics = model, Dynamics(model)
        self.lower, self.upper = best_blind(model), SawtoothBound(fast_informed_bound(model))

    def gap(self, belief: np.ndarray) -> float:
        return float(self.upper.value(belief[None])[0] - self.lower.value(belief))

    def walk(self, belief: np.ndarray, precision: float) -> None:
        """One trial."""
        discount, visited, allowed = self.model.discount, [], precision
        while self.gap(belief) > allowed:
            visited.append(belief)
            probability, following, values = self._looked_ahead(belief)
            action = int(values.argmax())
            allowed = allowed / discount if discount else math.inf
            reached = following[action]
            gaps = self.upper.value(reached) - self.lower.value(reached) - allowed
            belief = reached[int((probability[action] * gaps).argmax())]
            if allowed > 1e300:
                break
        for belief in reversed(visited):
            self._improve(belief)

    def _looked_ahead(self, belief: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Probabilities (A, O), beliefs (A, O, S), and the upper bounds of the actions' values, (A,)."""
        probability, following = self.dynamics.next_beliefs(belief)
        upper = self.upper.value(following.reshape(-1, len(belief))).reshape(probability.shape)
        future = np.where(probability > 0, probability * upper, 0).sum(-1)
        return probability, following, self.model.expected_reward @ belief + self.model.discount * future

    def _improve(self, belief: np.ndarray) -> None:
        """Backs up both bounds at a belief."""
        value = float(self._looked_ahead(belief)[2].max())
        if value < self.upper.value(belief[None])[0]:
            self.upper.add(belief, value)
        vector, action = self.dynamics.backup(self.lower, belief)
        if vector @ belief > self.lower.value(belief):
            kept = (self.lower.vectors > vector).any(1)
            vectors = np.vstack([self.lower.vectors[kept], vector])
            self.lower = AlphaVectors(vectors, np.append(self.lower.actions[kept], action))
