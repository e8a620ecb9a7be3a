"""The pole that is to be balanced on a cart; where its velocities are hidden, they must be remembered from before."""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tasks.task import Discrete, Step, Task, check_integer_action, check_positive

GRAVITY, MASSPOLE, TOTAL_MASS, HALF_LENGTH, FORCE_MAG, TAU = 9.8, 0.1, 1.1, 0.5, 10.0, 0.02  # m/s2, kg, kg, m, N, s
X_THRESHOLD, THETA_THRESHOLD, INIT_RANGE = 2.4, math.radians(12), 0.05  # m, rad; of all four numbers at the start


class CartState(NamedTuple):
    """motion: place of the cart, its velocity, angle of the pole, its velocity. t: actions made."""

    motion: Float[Tensor, "B 4"]
    t: Int[Tensor, " B"]


@dataclass(frozen=True)
class CartPole(Task):
    """Push a cart left or right so that the pole on it stays up (Barto, Sutton and Anderson 1983); with the equations
    (Florian 2007), constants and Euler steps of Gymnasium's CartPole-v1, whose motion this is in float64.

    Every step pays 1, also that in which the pole falls beyond 12 degrees or the cart leaves its track of +-2.4 m,
    which is a termination. After `steps` steps the episode is truncated. What is told after an end means nothing.

    Actions are integers (B,): 0 pushes left, 1 right.

    Observations: place, velocity, angle, angular velocity (B, 4); without velocities place and angle (B, 2), which is
    the common test of a recurrent policy.

    Score: `reward` of the episode, at its end: its length.

    Args:
        steps: most in an episode.
        velocities: whether they are seen.
    """

    steps: int = 500
    velocities: bool = True

    fixed_length: ClassVar[bool] = False
    score: ClassVar[str] = "reward"
    better: ClassVar[str] = "higher"

    def __post_init__(self) -> None:
        check_positive(steps=self.steps)

    @property
    def obs_size(self) -> int:
        return 4 if self.velocities else 2

    @property
    def action_space(self) -> Discrete:
        return Discrete(2)

    def reset(self, batch: int, rng: torch.Generator) -> tuple[CartState, Step]:
        motion = torch.empty(batch, 4, dtype=self.dtype, device=rng.device).uniform_(
            -INIT_RANGE, INIT_RANGE, generator=rng
        )
        state = CartState(motion, torch.zeros(batch, dtype=torch.long, device=rng.device))
        nothing, unended = torch.zeros_like(motion[:, 0]), torch.zeros_like(state.t, dtype=torch.bool)
        return state, Step(
            self._seen(motion), nothing, unended, unended, {"reward": torch.full_like(nothing, torch.nan)}
        )

    def step(self, state: CartState, action: Tensor, rng: torch.Generator) -> tuple[CartState, Step]:
        check_integer_action(self, action)
        state = CartState(euler_step(state.motion, action), state.t + 1)
        place, angle = state.motion[:, 0], state.motion[:, 2]
        terminated = (place.abs() > X_THRESHOLD) | (angle.abs() > THETA_THRESHOLD)
        late = state.t >= self.steps
        reward = torch.where(terminated | late, state.t.to(self.dtype), torch.nan)
        obs = self._seen(state.motion)
        return state, Step(obs, torch.ones_like(place), terminated, late & ~terminated, {"reward": reward})

    def _seen(self, motion: Tensor) -> Tensor:
        return motion if self.velocities else motion[:, ::2]

    def references(self) -> dict[str, dict[str, float]]:
        """The longest episode; and means over 512 simulated ones: of the best of 21 players who push by a weighted sum
        of place and angle alone, and of random pushes."""
        memoryless, chance = _lengths(self.steps)
        return {"reward": {"optimum": float(self.steps), "memoryless": memoryless, "chance": chance}}


def euler_step(motion: Float[Tensor, "B 4"], action: Int[Tensor, " B"]) -> Float[Tensor, "B 4"]:
    """A step of Euler's later."""
    _, speed, angle, turning = motion.unbind(-1)
    cos, sin = angle.cos(), angle.sin()
    push = (2 * FORCE_MAG) * action - FORCE_MAG
    pushed = torch.add(push, turning.square() * sin, alpha=MASSPOLE * HALF_LENGTH) / TOTAL_MASS
    spin = (GRAVITY * sin).addcmul_(cos, pushed, value=-1) / (
        cos.square() * (-HALF_LENGTH * MASSPOLE / TOTAL_MASS) + HALF_LENGTH * 4 / 3
    )
    speeding = torch.addcmul(pushed, spin, cos, value=-MASSPOLE * HALF_LENGTH / TOTAL_MASS)
    return torch.add(motion, torch.stack([speed, speeding, turning, spin], -1), alpha=TAU)


@lru_cache(maxsize=16)
def _lengths(steps: int, episodes: int = 512) -> tuple[float, float]:
    """Of the best memoryless player, and of a random one."""
    rng = torch.Generator().manual_seed(0)
    weight = torch.linspace(-1, 1, 21, dtype=torch.float64).repeat_interleave(episodes)  # of the place
    motion = (
        torch.empty(episodes, 4, dtype=torch.float64).uniform_(-INIT_RANGE, INIT_RANGE, generator=rng).repeat(22, 1)
    )
    length = torch.zeros(len(motion), dtype=torch.float64)
    up = torch.ones_like(length, dtype=torch.bool)
    for _ in range(steps):
        leaning = motion[: len(weight), 2] + weight * motion[: len(weight), 0] > 0
        motion = euler_step(motion, torch.cat([leaning.long(), torch.randint(2, (episodes,), generator=rng)]))
        length += up
        up &= (motion[:, 0].abs() <= X_THRESHOLD) & (motion[:, 2].abs() <= THETA_THRESHOLD)
        if not up.any():
            break
    means = length.unflatten(0, (22, episodes)).mean(-1)
    return means[:-1].max().item(), means[-1].item()
