"""Models whose hidden state is filtered: the protocol, and an example.

Shapes: A action, S hidden state, O observation.
"""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Protocol, runtime_checkable

import numpy as np


@runtime_checkable
class BeliefModel(Protocol):
    """A model whose hidden state is filtered, such as `tasks.pomdp.PomdpModel`."""

    @property
    def states(self) -> Sequence[str]:
        """Names of the states."""

    @property
    def actions(self) -> Sequence[str]:
        """Names of the actions."""

    @property
    def observations(self) -> Sequence[str]:
        """Names of the observations."""

    @property
    def transition(self) -> np.ndarray:
        """T[a, s, s'], probabilities, (A, S, S)."""

    @property
    def observation(self) -> np.ndarray:
        """O[a, s', o], probabilities, (A, S, O)."""

    @property
    def start(self) -> np.ndarray:
        """Distribution of the first state, (S,)."""


EXAMPLE: BeliefModel = SimpleNamespace(
    states=("left", "right"),
    actions=("listen",),
    observations=("hear-left", "hear-right"),
    transition=np.array([[[0.95, 0.05], [0.05, 0.95]]]),
    observation=np.array([[[0.85, 0.15], [0.15, 0.85]]]),
    start=np.array([0.5, 0.5]),
)
"""A hidden Markov model of two states: something unseen is heard, and crosses over now and then."""
