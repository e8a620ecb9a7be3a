"""A cart on a line, whose speeds are paid: a world with many distributions of rewards to choose from."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tasks.observations import ObsPart
from tasks.task import Discrete, Step, Task, check_integer_action, check_positive


class CartWorldState(NamedTuple):
    """State of the cart.

    Args:
        velocity: from -1 to 1.
        total: the sum of rewards.
        t: the number of actions taken.
        lived: the velocities after each action so far, then zeros; of no size where none are wanted.
    """

    velocity: Float[Tensor, " B"]
    total: Float[Tensor, " B"]
    t: Int[Tensor, " B"]
    lived: Float[Tensor, "B L"]


@dataclass(frozen=True)
class CartWorld(Task):
    """A cart is accelerated along a line, and each step's reward is its velocity.

    Episodes of equal returns can have different distributions of rewards: a cart that stands still, and one that drives
    forth and then back. An agent that is to match a distribution (Generalised Decision Transformer) is told which.

    The velocity begins at 0, changes by `acceleration` times (action - 1) and by Gaussian noise, and is clipped to -1
    to 1. Actions are integers (B,): brake, coast, speed up. Observations (B, 2): velocity, share of the steps left.

    Scores, at the end: `episodic_return`; where velocities are `wanted`, `velocity_distance`, the Wasserstein-1
    distance of the velocities of the episode to these, each for an equal share of the steps. Lower is better there, 0
    the least.

    Args:
        steps: the length of an episode.
        acceleration: change of the velocity by an action.
        noise: standard deviation of its random change.
        wanted: velocities, such as 0.6 -0.6; they change nothing but the scores.

    Raises:
        ValueError: `steps` below 1, an `acceleration` not above 0, a negative `noise`, or a wanted velocity that there
            is not.

    Source: its purpose is that of section 5 of Furuta, Matsuo and Gu 2022 (arXiv:2111.10364).
    """

    steps: int = 60
    acceleration: float = 0.2
    noise: float = 0.02
    wanted: tuple[float, ...] = ()

    score: ClassVar[str] = "episodic_return"
    better: ClassVar[str] = "higher"

    def __post_init__(self) -> None:
        check_positive(steps=self.steps)
        if not self.acceleration > 0:
            raise ValueError(f"acceleration={self.acceleration}, want a number above 0")
        if not self.noise >= 0:
            raise ValueError(f"noise={self.noise}, want at least 0")
        if any(not -1 <= velocity <= 1 for velocity in self.wanted):
            raise ValueError(f"wanted={self.wanted}, want velocities from -1 to 1")

    @property
    def obs_size(self) -> int:
        return 2

    @property
    def obs_parts(self) -> tuple[ObsPart, ...]:
        return (ObsPart("vector", (1,), "velocity"), ObsPart("vector", (1,), "time left"))

    @property
    def action_space(self) -> Discrete:
        return Discrete(3)

    def reset(self, batch: int, rng: torch.Generator) -> tuple[CartWorldState, Step]:
        zeros = torch.zeros(batch, dtype=self.dtype, device=rng.device)
        lived = zeros.new_zeros(batch, self.steps if self.wanted else 0)
        state = CartWorldState(zeros, zeros, torch.zeros(batch, dtype=torch.long, device=rng.device), lived)
        return state, self._make_step(state, zeros)

    def step(self, state: CartWorldState, action: Tensor, rng: torch.Generator) -> tuple[CartWorldState, Step]:
        check_integer_action(self, action)
        drawn = torch.randn(action.shape, generator=rng, dtype=self.dtype, device=rng.device) * self.noise
        velocity = (state.velocity + self.acceleration * (action - 1) + drawn).clamp(-1, 1)
        now = torch.arange(state.lived.shape[1], device=action.device) == state.t.unsqueeze(-1)
        lived = torch.where(now, velocity.unsqueeze(-1), state.lived)
        state = CartWorldState(velocity, state.total + velocity, state.t + 1, lived)
        return state, self._make_step(state, velocity)

    def _make_step(self, state: CartWorldState, reward: Tensor) -> Step:
        done = state.t >= self.steps
        scores = {"episodic_return": torch.where(done, state.total, torch.nan)}
        if self.wanted:
            scores["velocity_distance"] = torch.where(done, self._distance(state.lived), torch.nan)
        obs = torch.stack([state.velocity, 1 - state.t.to(self.dtype) / self.steps], -1)
        return Step(obs, reward, done, torch.zeros_like(done), scores)

    def _distance(self, lived: Float[Tensor, "B L"]) -> Float[Tensor, " B"]:
        """Mean distance of sorted velocities to those that are wanted: the Wasserstein-1 distance."""
        share = torch.arange(self.steps, device=lived.device) * len(self.wanted) // self.steps
        wanted = torch.tensor(sorted(self.wanted), dtype=lived.dtype, device=lived.device)[share]
        return (lived.sort(-1).values - wanted).abs().mean(-1)

    def references(self) -> dict[str, dict[str, float]]:
        """Of speeding up throughout, without noise, and of random actions, whose mean is 0 by symmetry."""
        fastest = np.minimum(self.acceleration * np.arange(1, self.steps + 1), 1).sum()
        return {"episodic_return": {"optimum": float(fastest), "chance": 0.0}}
