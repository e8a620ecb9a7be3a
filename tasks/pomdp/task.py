"""Episodes of a partially observed Markov decision process, batched on one device.

Shapes: B episode, A action, S state, O observation.
"""

import os
from dataclasses import dataclass, field
from functools import lru_cache
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from tasks.observations import ObsPart
from tasks.pomdp.library import load_model
from tasks.pomdp.model import PomdpModel
from tasks.pomdp.reference_values import reference_values
from tasks.task import Discrete, Step, Task, check_integer_action, check_positive


class PomdpState(NamedTuple):
    """State of the episodes of a POMDP.

    Args:
        s: the hidden state.
        t: the number of actions taken.
        discounted_return: the discounted sum of the rewards so far.
    """

    s: Int[Tensor, " B"]
    t: Int[Tensor, " B"]
    discounted_return: Float[Tensor, " B"]


@dataclass(frozen=True)
class Pomdp(Task):
    """A partially observed Markov decision process: a classic by name, a file in Cassandra's format, or a model.

    The episode is cut after `steps` steps, which is a truncation: the process itself has no end. An agent that is
    trained with the model's discount, and that observes its last action (`tasks.PreviousActionReward`), can be compared
    with the solvers of `badger.planning`.

    Actions are integers (B,). Observations (B, O) are one-hot; at the start, before any action, they are zeros.

    Score: `discounted_return` at the end, with the model's discount.

    Args:
        steps: the length of an episode.
        model: a name in `tasks.pomdp.library.MODELS`, the path of a file, or a model.

    Raises:
        ValueError: `steps` below 1, an unknown name, or a file that is not in the format.
    """

    steps: int = 20
    model: PomdpModel | str | os.PathLike[str] = "tiger.95"
    loaded: PomdpModel = field(init=False, repr=False, compare=False)

    score: ClassVar[str] = "discounted_return"
    better: ClassVar[str] = "higher"

    def __post_init__(self) -> None:
        check_positive(steps=self.steps)
        object.__setattr__(self, "loaded", load_model(self.model))

    @property
    def obs_size(self) -> int:
        return len(self.loaded.observations)

    @property
    def obs_parts(self) -> tuple[ObsPart, ...]:
        return (ObsPart("one_hot", (self.obs_size,)),)

    @property
    def action_space(self) -> Discrete:
        return Discrete(len(self.loaded.actions))

    @property
    def known_model(self) -> PomdpModel:
        return self.loaded

    def reset(self, batch: int, rng: torch.Generator) -> tuple[PomdpState, Step]:
        tables = _tables(self.loaded, rng.device)
        s = _draw(tables.start.expand(batch, -1), rng)
        zeros = torch.zeros(batch, dtype=self.dtype, device=rng.device)
        over = torch.zeros(batch, dtype=torch.bool, device=rng.device)
        obs = torch.zeros(batch, self.obs_size, dtype=self.dtype, device=rng.device)
        scores = {self.score: torch.full_like(zeros, torch.nan)}
        return PomdpState(s, torch.zeros_like(s), zeros), Step(obs, zeros, over, over, scores)

    def step(self, state: PomdpState, action: Tensor, rng: torch.Generator) -> tuple[PomdpState, Step]:
        check_integer_action(self, action)
        tables = _tables(self.loaded, rng.device)
        s = _draw(tables.transition[action, state.s], rng)
        o = _draw(tables.observation[action, s], rng)
        reward = tables.reward[action, state.s, s, o].to(self.dtype)
        total = state.discounted_return + self.loaded.discount**state.t * reward
        t = state.t + 1
        over = t >= self.steps
        obs = one_hot(o, self.obs_size).to(self.dtype)
        scores = {self.score: torch.where(over, total, torch.nan)}
        return PomdpState(s, t, total), Step(obs, reward, torch.zeros_like(over), over, scores)

    def references(self) -> dict[str, dict[str, float]]:
        """Expected scores: of random actions, of the best action that is always taken, and of the state observed."""
        return {self.score: reference_values(self.loaded, self.steps)}


class _Tables(NamedTuple):
    """Cumulative distributions, and rewards, on a device."""

    start: Tensor
    transition: Tensor
    observation: Tensor
    reward: Tensor


@lru_cache(maxsize=16)
def _tables(model: PomdpModel, device: torch.device) -> _Tables:
    def cumulative(table: np.ndarray) -> Tensor:
        sums = table.cumsum(-1)
        return torch.from_numpy(sums / sums[..., -1:]).to(device)  # from the last possible value on exactly 1

    compact = model.reward[tuple(slice(None, 1) if step == 0 else slice(None) for step in model.reward.strides)]
    reward = torch.from_numpy(compact.copy()).to(device).expand(model.reward.shape)
    return _Tables(cumulative(model.start), cumulative(model.transition), cumulative(model.observation), reward)


def _draw(cumulative: Float[Tensor, "B K"], rng: torch.Generator) -> Int[Tensor, " B"]:
    """An index for each row of cumulative probabilities."""
    u = torch.rand(cumulative.shape[0], 1, generator=rng, device=cumulative.device, dtype=cumulative.dtype)
    return (u >= cumulative).sum(-1)
