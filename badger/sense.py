"""Ports through which experts sense: from a task's observation to each expert's share of it.

Shapes: B episode, E expert, O observation, S what an expert senses.
"""

from abc import ABC, abstractmethod

from jaxtyping import Float
from torch import Tensor, nn


class Sense(nn.Module, ABC):
    """obs -> (B, E, output_size). outputs: how many numbers the agent's action has, which an agent knows of itself."""

    output_size: int

    @abstractmethod
    def forward(self, obs: Float[Tensor, "B *EO"], experts: int, outputs: int) -> Float[Tensor, "B E S"]: ...


class Broadcast(Sense):
    """Every expert senses the whole observation (B, O)."""

    def __init__(self, obs_size: int):
        super().__init__()
        self.output_size = obs_size

    def forward(self, obs: Float[Tensor, "B *EO"], experts: int, outputs: int) -> Float[Tensor, "B E S"]:
        if obs.dim() != 2 or obs.shape[-1] != self.output_size:
            raise ValueError(
                f"obs {tuple(obs.shape)}, want (batch, {self.output_size}): "
                f"sense.Broadcast(obs_size={self.output_size}) takes one observation for all experts; "
                "sense.Each takes one for each"
            )
        return obs.unsqueeze(1).expand(-1, experts, -1)


class Total(Sense):
    """Every expert senses the whole observation, times the number of outputs: a mean over outputs becomes their total.

    Where the task tells a mean, what one output adds to it shrinks as there are more; of the total it is the same,
    however many there are, so that an agent may make more of them than it was trained with.

    Args:
        scale: by which all is multiplied.
    """

    def __init__(self, obs_size: int, *, scale: float = 1.0):
        super().__init__()
        self.output_size, self.scale, self.all = obs_size, scale, Broadcast(obs_size)

    def forward(self, obs: Float[Tensor, "B *EO"], experts: int, outputs: int) -> Float[Tensor, "B E S"]:
        return self.all(obs, experts, outputs) * (outputs * self.scale)


class Each(Sense):
    """Expert i senses row i of an observation (B, E, O)."""

    def __init__(self, obs_size: int):
        super().__init__()
        self.output_size = obs_size

    def forward(self, obs: Float[Tensor, "B *EO"], experts: int, outputs: int) -> Float[Tensor, "B E S"]:
        if obs.shape[1:] != (experts, self.output_size):
            raise ValueError(
                f"obs {tuple(obs.shape)}, want (batch, experts {experts}, {self.output_size}): "
                "sense.Each takes one observation for each expert; sense.Broadcast takes one for all"
            )
        return obs
