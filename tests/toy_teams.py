"""Tasks of several agents, or of several experts with one action, for the tests of adapters."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from badger import Task
from tasks import AssociativeRecall, Continuous, Discrete, MultiDiscrete, Step

THREE = Discrete(3)


class FlockState(NamedTuple):
    place: Tensor  # (B, 3)
    t: Tensor  # (B,)


@dataclass(frozen=True)
class Flock(Task):
    """Three agents on a line that stay or move; moving is masked where the place is above 1.

    Agent 0 is terminated at step 2, agent 1 appears at step 1 and is truncated at step 3, agent 2 ends at step 4.
    The reward is the place of the agent.
    """

    steps: int = 4

    fixed_length: ClassVar[bool] = False
    score: ClassVar[str] = "sum"
    better: ClassVar[str] = "higher"

    @property
    def agents(self):
        return 3

    @property
    def obs_size(self):
        return 2

    @property
    def action_space(self):
        return Discrete(2)

    def reset(self, batch, rng):
        place = torch.rand(batch, 3, generator=rng, device=rng.device, dtype=self.dtype)
        state = FlockState(place, torch.zeros(batch, dtype=torch.long))
        return state, self._make_step(state, torch.zeros_like(place))

    def step(self, state, action, rng):
        assert action.shape == state.place.shape
        t = state.t.unsqueeze(-1)
        acts = (t >= torch.tensor([0, 1, 0])) & (t < torch.tensor([2, 3, 4]))
        state = FlockState(state.place + 0.25 * action * acts, state.t + 1)
        return state, self._make_step(state, state.place * acts)

    def _make_step(self, state, reward):
        t = state.t.unsqueeze(-1)
        over, started, cut = t >= torch.tensor([2, 3, 4]), t >= torch.tensor([0, 1, 0]), torch.arange(3) == 1
        present = started & (~over | ((t == 3) & cut))
        obs = torch.where(present.unsqueeze(-1), torch.stack([state.place, t.expand_as(state.place)], -1), 0)
        mask = torch.stack([state.place <= 1, torch.ones_like(present)], -1)
        sums = torch.where(over.all(-1), state.place.sum(-1), torch.nan)
        return Step(obs.to(self.dtype), reward, over & ~cut, over & cut, {"sum": sums}, present, mask)

    def references(self):
        return {"sum": {"nothing": 1.5}}


class BallotState(NamedTuple):
    t: Tensor  # (B,)


@dataclass(frozen=True)
class Ballot(Task):
    """Three experts with an observation row each and one joint action of the space `kind`, which is also the reward."""

    steps: int = 3
    kind: Discrete | MultiDiscrete | Continuous = THREE

    score: ClassVar[str] = "first"
    better: ClassVar[str] = "higher"

    @property
    def obs_size(self):
        return 2

    @property
    def action_space(self):
        return self.kind

    def reset(self, batch, rng):
        t = torch.zeros(batch, dtype=torch.long)
        return BallotState(t), self._make_step(t, torch.zeros(batch))

    def step(self, state, action, rng):
        shown = action.reshape(len(action), -1)
        return BallotState(state.t + 1), self._make_step(
            state.t + 1, (shown * 10.0 ** torch.arange(shown.shape[1])).sum(-1)
        )

    def _make_step(self, t, reward):
        obs = torch.stack([torch.arange(3).expand(len(t), -1), t.unsqueeze(-1).expand(-1, 3)], -1).to(self.dtype)
        over = t >= self.steps
        return Step(obs, reward.to(self.dtype), over, torch.zeros_like(over), {"first": reward.to(self.dtype)})

    def references(self):
        return {"first": {"nothing": 0.0}}


class Choosy(AssociativeRecall):
    """Masks the first option of the first bit."""

    def _make_step(self, state, reward, error):
        mask = torch.ones(len(reward), 2 * self.bits, dtype=torch.bool)
        mask[:, 0] = False
        return super()._make_step(state, reward, error)._replace(action_mask=mask)
