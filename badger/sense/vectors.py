"""Senses of a plain vector.

- `Broadcast`, `Scaled`, `Embedding`: one observation for all experts.
- `PerExpert`: one observation for each expert.
- `Team`: one observation for each agent of an environment of several agents.

Shapes: B episode, E expert, P agent of the environment, O observation, S input of an expert.
"""

from jaxtyping import Float
from torch import Tensor, nn

from badger.sense.base import Sense
from badger.teams import team_size


class Broadcast(Sense):
    """Every expert receives the whole observation, (B, O).

    Args:
        obs_size: O.
    """

    elementwise = True
    broadcasts = True

    def __init__(self, obs_size: int):
        super().__init__()
        self.output_size = obs_size

    def forward(self, obs: Float[Tensor, "B *EO"], experts: int, outputs: int) -> Float[Tensor, "B E S"]:
        if obs.dim() != 2 or obs.shape[-1] != self.output_size:
            raise ValueError(
                f"obs {tuple(obs.shape)}, want (batch, {self.output_size}): "
                f"sense.Broadcast(obs_size={self.output_size}) takes one observation for all experts; "
                "sense.PerExpert takes one for each"
            )
        return obs.unsqueeze(1).expand(-1, experts, -1)


class Scaled(Sense):
    """Every expert receives the whole observation times outputs^power: for observations that are means over outputs.

    The effect of one output on a mean (power 0) shrinks with their number. Its effect on the sum (power 1) is constant,
    but the sum grows beyond the range of training. With power 1/2 both change slowly, so that an agent can make fewer
    or more outputs than in training. With power 1 and the largest number of training as `max_outputs` the effect is as
    in training where there are fewer, and the range is where there are more.

    Args:
        obs_size: O.
        power: exponent of the number of outputs.
        scale: a constant factor.
        max_outputs: more outputs count as this number; None: all count.

    Raises:
        ValueError: a scale of 0, which hides the observation, or max_outputs < 1.
    """

    elementwise = True
    broadcasts = True

    def __init__(self, obs_size: int, *, power: float = 0.5, scale: float = 1.0, max_outputs: int | None = None):
        super().__init__()
        if scale == 0:
            raise ValueError(f"scale={scale}, want a number other than 0, which hides the observation")
        if max_outputs is not None and max_outputs < 1:
            raise ValueError(f"max_outputs={max_outputs}, want at least 1")
        self.output_size, self.power, self.scale, self.max_outputs = obs_size, power, scale, max_outputs
        self.broadcast = Broadcast(obs_size)

    def forward(self, obs: Float[Tensor, "B *EO"], experts: int, outputs: int) -> Float[Tensor, "B E S"]:
        counted = outputs if self.max_outputs is None else min(outputs, self.max_outputs)
        return self.broadcast(obs, experts, outputs) * (counted**self.power * self.scale)


class Embedding(Sense):
    """Every expert receives a learned linear embedding of the whole observation, initially standard normal.

    For one-hot symbols: each has a learned vector, as in `nn.Embedding`. Without an embedding, a one-hot input changes
    a gate of a core with H units by some H^-1/2 at initialization: all symbols look alike, and a memory that must be
    queried by one of them is hardly ever learned (notebooks/LOG.md).

    Args:
        obs_size: O.
        size: of the embedding.

    Raises:
        ValueError: size < 1.
    """

    broadcasts = True

    def __init__(self, obs_size: int, size: int = 64):
        super().__init__()
        if size < 1:
            raise ValueError(f"size={size}, want at least 1 number for each symbol")
        self.output_size, self.broadcast = size, Broadcast(obs_size)
        self.linear = nn.Linear(obs_size, size, bias=False)
        nn.init.normal_(self.linear.weight)

    def forward(self, obs: Float[Tensor, "B *EO"], experts: int, outputs: int) -> Float[Tensor, "B E S"]:
        return self.linear(self.broadcast(obs, experts, outputs))


class PerExpert(Sense):
    """Expert i receives row i of the observation, (B, E, O).

    Args:
        obs_size: O.
    """

    def __init__(self, obs_size: int):
        super().__init__()
        self.output_size = obs_size

    def forward(self, obs: Float[Tensor, "B *EO"], experts: int, outputs: int) -> Float[Tensor, "B E S"]:
        if obs.shape[1:] != (experts, self.output_size):
            raise ValueError(
                f"obs {tuple(obs.shape)}, want (batch, experts {experts}, {self.output_size}): "
                "sense.PerExpert takes one observation for each expert; sense.Broadcast takes one for all"
            )
        return obs


class Team(Sense):
    """Expert e receives the observation of agent e mod P of the environment, (B, P, O): E / P experts for each agent.

    Args:
        obs_size: O.
        scale: a constant factor.
    """

    def __init__(self, obs_size: int, *, scale: float = 1.0):
        super().__init__()
        self.output_size, self.scale = obs_size, scale

    def forward(self, obs: Float[Tensor, "B *EO"], experts: int, outputs: int) -> Float[Tensor, "B E S"]:
        if obs.dim() != 3 or obs.shape[-1] != self.output_size:
            raise ValueError(
                f"obs {tuple(obs.shape)}, want (batch, agents, {self.output_size}): sense.Team takes one observation "
                "for each agent of the environment; sense.Broadcast takes one for all experts"
            )
        return (obs * self.scale).repeat(1, team_size(experts, obs.shape[1]), 1)
