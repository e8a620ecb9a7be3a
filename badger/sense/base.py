"""The base class of input maps.

Shapes: B episode, E expert, P agent of the environment, O observation, S input of an expert.
"""

from abc import ABC, abstractmethod

from jaxtyping import Float
from torch import Tensor, nn


class Sense(nn.Module, ABC):
    """Base class of input maps: observations -> (B, E, output_size). A subclass sets `output_size` (S)."""

    output_size: int
    elementwise: bool = False  # number i of the output depends on number i of the observation alone
    broadcasts: bool = False  # all experts have the same input

    @abstractmethod
    def forward(self, obs: Float[Tensor, "B *EO"], experts: int, outputs: int) -> Float[Tensor, "B E S"]:
        """The input of each expert.

        Args:
            obs: the observations of a batch of episodes.
            experts: E.
            outputs: D, numbers of the agent's action.

        Raises:
            ValueError: observations of another shape.
        """
