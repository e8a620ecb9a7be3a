"""Ports through which experts sense: from a task's observation to each expert's share of it.

Shapes: B episode, E expert, P agent of the world, O observation, S what an expert senses.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor, nn

from badger.teams import team_size


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


class Scaled(Sense):
    """Every expert senses the whole observation, times outputs^power: for tasks that tell a mean over the outputs.

    What one output adds to a mean is the less, the more there are; what it adds to their total (power 1) is always the
    same, but the total grows beyond what was met in training. Half way (1/2) both change slowly, so that an agent may
    make fewer or more outputs than it was trained with.

    Args:
        scale: by which all is multiplied.
    """

    def __init__(self, obs_size: int, *, power: float = 0.5, scale: float = 1.0):
        super().__init__()
        self.output_size, self.power, self.scale, self.all = obs_size, power, scale, Broadcast(obs_size)

    def forward(self, obs: Float[Tensor, "B *EO"], experts: int, outputs: int) -> Float[Tensor, "B E S"]:
        return self.all(obs, experts, outputs) * (outputs**self.power * self.scale)


class Embedding(Sense):
    """Every expert senses a learned linear map of the whole observation, whose weights begin standard normal.

    For observations that are symbols, seen one-hot: each has `size` numbers of its own, as in `nn.Embedding`. Read
    directly, a one moves a gate of a core of H units by some H^-1/2 at first, so that all symbols look alike, and a
    memory that shall be asked by one of them is hardly ever found (notebooks/LOG.md).
    """

    def __init__(self, obs_size: int, size: int = 64):
        super().__init__()
        if size < 1:
            raise ValueError(f"size={size}, want at least 1 number for each symbol")
        self.output_size, self.all, self.linear = size, Broadcast(obs_size), nn.Linear(obs_size, size, bias=False)
        nn.init.normal_(self.linear.weight)

    def forward(self, obs: Float[Tensor, "B *EO"], experts: int, outputs: int) -> Float[Tensor, "B E S"]:
        return self.linear(self.all(obs, experts, outputs))


class PerExpert(Sense):
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


class Team(Sense):
    """Expert e senses what agent e mod P of the world does, (B, P, O): a team of E / P experts behind each.

    Args:
        scale: by which all is multiplied.
    """

    def __init__(self, obs_size: int, *, scale: float = 1.0):
        super().__init__()
        self.output_size, self.scale = obs_size, scale

    def forward(self, obs: Float[Tensor, "B *EO"], experts: int, outputs: int) -> Float[Tensor, "B E S"]:
        if obs.dim() != 3 or obs.shape[-1] != self.output_size:
            raise ValueError(
                f"obs {tuple(obs.shape)}, want (batch, agents, {self.output_size}): sense.Team takes one observation "
                "for each agent of the world; sense.Broadcast takes one for all experts"
            )
        return (obs * self.scale).repeat(1, team_size(experts, obs.shape[1]), 1)


SENSES: dict[str, Callable[..., Sense]] = {
    "broadcast": Broadcast,
    "scaled": Scaled,
    "embedding": Embedding,
    "per_expert": PerExpert,
    "team": Team,
}
"""Senses by name, each a factory `(obs_size, *, options) -> Sense`."""
