"""Toy tasks in which the observation is constant and one number is chosen, and an agent of 13 weights for them."""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from badger import act
from badger.agent import Agent
from badger.rng import drawing_from, generator
from badger.sense import Broadcast
from comms import Silent
from experts import CORES
from tasks import Continuous, Step, Task


class Level(NamedTuple):
    height: Tensor  # (B,), sum of the actions
    t: Tensor  # (B,)


@dataclass(frozen=True)
class Effort(Task):
    """Each action costs 1.5 times its size at once, and raises the reward of every later step by its size."""

    steps: int = 6
    differentiable: ClassVar[bool] = True
    score: ClassVar[str] = "height"
    better: ClassVar[str] = "higher"

    @property
    def obs_size(self):
        return 1

    @property
    def action_space(self):
        return Continuous(1)

    def reset(self, batch: int, rng: torch.Generator) -> tuple[Any, Step]:
        zero = torch.zeros(batch, dtype=self.dtype, device=rng.device)
        return self._result(Level(zero, zero.long()), zero)

    def step(self, state: Any, action: Tensor, rng: torch.Generator) -> tuple[Any, Step]:
        action = action.squeeze(-1)
        return self._result(Level(state.height + action, state.t + 1), self._reward(state.height, action))

    def _reward(self, height: Tensor, action: Tensor) -> Tensor:
        return height - 1.5 * action

    def _result(self, state: Level, reward: Tensor) -> tuple[Level, Step]:
        over = state.t >= self.steps
        obs = torch.ones_like(reward).unsqueeze(-1)
        return state, Step(obs, reward, over, torch.zeros_like(over), {"height": state.height.detach()})

    def references(self):
        return {}


@dataclass(frozen=True)
class Aim(Effort):
    """The reward of an action is minus its squared distance from .7."""

    steps: int = 1

    def _reward(self, height: Tensor, action: Tensor) -> Tensor:
        return -(action - 0.7).square()


def effort_agent():
    """An agent without memory."""
    with drawing_from(generator(0, "effort")):
        core, head = CORES["feedforward"](1, 2), act.Mean(2, 1)
        return Agent(sense=Broadcast(1), core=core, bus=Silent(2), act=head, experts=1, identity_size=0).double()
