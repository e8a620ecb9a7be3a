"""Models whose hidden state is filtered, with finitely many states or linear and Gaussian: protocols and examples.

Shapes: A action, S hidden state, O observation.
"""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Protocol, runtime_checkable

import numpy as np
from torch import Tensor


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


@runtime_checkable
class LinearGaussianModel(Protocol):
    """A linear model with Gaussian noise: s' = F s + control(a) + noise, o = H s + noise."""

    @property
    def action_size(self) -> int:
        """Numbers of an action."""

    @property
    def transition(self) -> np.ndarray:
        """F, (S, S)."""

    @property
    def transition_covariance(self) -> np.ndarray:
        """Of the noise of a step, (S, S)."""

    @property
    def observation(self) -> np.ndarray:
        """H, (O, S)."""

    @property
    def observation_covariance(self) -> np.ndarray:
        """Of the noise of an observation, (O, O)."""

    @property
    def start_mean(self) -> np.ndarray:
        """Mean of the first state, (S,)."""

    @property
    def start_covariance(self) -> np.ndarray:
        """Of the first state, (S, S)."""

    def control(self, action: Tensor) -> Tensor:
        """The change of the state by an action, (..., A) -> (..., S); may be nonlinear.

        Args:
            action: the last one.
        """


LINEAR_EXAMPLE: LinearGaussianModel = SimpleNamespace(
    action_size=1,
    transition=np.array([[1.0, 1.0], [0.0, 1.0]]),
    transition_covariance=np.diag([0.0, 0.01]),
    observation=np.array([[1.0, 0.0]]),
    observation_covariance=np.array([[0.25]]),
    start_mean=np.zeros(2),
    start_covariance=np.diag([1.0, 0.1]),
    control=lambda action: action * action.new_tensor([0.0, 0.1]),
)
"""A body with a position and a velocity that is pushed; its position is observed with noise."""
