"""Mountain Hike: a walk along a ridge by noisy observations of one's position (Igl et al. 2018)."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tasks.control.mountain_hike.model import (
    EFFORT,
    LONGEST_STEP,
    START,
    START_NOISE,
    STEP_NOISE,
    HikeModel,
    height_reward,
)
from tasks.control.mountain_hike.planner import mean_returns
from tasks.task import Continuous, Step, Task, check_positive


class HikeState(NamedTuple):
    """State of the walk.

    Args:
        position: the true one, x and y.
        total: the return so far.
        t: the number of actions taken.
    """

    position: Float[Tensor, "B 2"]
    total: Float[Tensor, " B"]
    t: Int[Tensor, " B"]


@dataclass(frozen=True)
class MountainHike(Task):
    """Walks along a curved ridge to a summit; only the position is observed, with noise.

    An action is a displacement in units of the longest step, 0.05; a longer one is shortened. Gaussian noise is added
    to each step (0.025) and to each observation. The reward is 4 (1 - (1 - Z)^4) - 4.5 + (x + y) / 4 at the new
    position, where Z is the height of the highest of three ridges, and -6 outside the square from -1 to 1; minus 0.1
    times the length of the displacement that was asked for. An episode is truncated after `steps` steps.

    The exact belief is a Kalman filter (`known_model`), so that what a perfect memory brings can be measured.

    Score: `episodic_return`, at the end of the episode.

    Args:
        steps: the length of an episode.
        noise: standard deviation of an observation; 0: the position is observed.

    Raises:
        ValueError: steps < 1, or a noise that is negative or not finite.

    Source: Igl et al. 2018 (arXiv:1806.02426), section 5.1. Their observations are ten times as large, so that their
    noise of 3 is 0.3 here.
    """

    steps: int = 75
    noise: float = 0.15

    score: ClassVar[str] = "episodic_return"
    better: ClassVar[str] = "higher"

    def __post_init__(self) -> None:
        check_positive(steps=self.steps)
        if not 0 <= self.noise < float("inf"):
            raise ValueError(f"noise={self.noise}, want a finite standard deviation >= 0")

    @property
    def obs_size(self) -> int:
        return 2

    @property
    def action_space(self) -> Continuous:
        return Continuous(2, -1.0, 1.0)

    @property
    def known_model(self) -> HikeModel:
        return HikeModel(self.noise)

    def reset(self, batch: int, rng: torch.Generator) -> tuple[HikeState, Step]:
        draws = self._normal(batch, rng)
        position = START_NOISE * draws + draws.new_tensor(START)
        zeros = torch.zeros_like(position[:, 0])
        state = HikeState(position, zeros, zeros.long())
        return state, self._make_step(state, zeros, rng)

    def step(self, state: HikeState, action: Tensor, rng: torch.Generator) -> tuple[HikeState, Step]:
        """Moves by one step.

        Args:
            state: before the step.
            action: (B, 2), in units of the longest step.
            rng: of the noise.
        """
        action = action.to(self.dtype)
        moved = state.position + self.known_model.control(action)
        position = moved + STEP_NOISE * self._normal(len(moved), rng)
        effort = LONGEST_STEP * action.square().sum(-1).sqrt()
        reward = height_reward(position) - EFFORT * effort
        state = HikeState(position, state.total + reward, state.t + 1)
        return state, self._make_step(state, reward, rng)

    def _make_step(self, state: HikeState, reward: Tensor, rng: torch.Generator) -> Step:
        ended = state.t >= self.steps
        obs = state.position + self.noise * self._normal(len(reward), rng)
        scores = {"episodic_return": torch.where(ended, state.total, torch.nan)}
        return Step(obs, reward, torch.zeros_like(ended), ended, scores)

    def _normal(self, batch: int, rng: torch.Generator) -> Tensor:
        return torch.randn(batch, 2, generator=rng, device=rng.device, dtype=self.dtype)

    def references(self) -> dict[str, dict[str, float]]:
        """Mean returns of random actions and of planners with different knowledge of the position.

        The planners act as value iteration says for the position that they believe in: the start and their own steps
        (open loop), the last observation, the mean of a Kalman filter, or the true position. 2,000 simulated episodes.
        """
        return {"episodic_return": mean_returns(self, self.noise)}
