"""Cart pole, batched, with optional velocity masking for tests of recurrent policies."""

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tasks.task import Discrete, Step, Task, check_integer_action, check_positive, opposite_pairs

GRAVITY, MASSPOLE, TOTAL_MASS, HALF_LENGTH, FORCE_MAG, TAU = 9.8, 0.1, 1.1, 0.5, 10.0, 0.02  # m/s2, kg, kg, m, N, s
X_THRESHOLD, THETA_THRESHOLD, INIT_RANGE = 2.4, math.radians(12), 0.05  # m, rad; initial range of all four components


class CartState(NamedTuple):
    """State of the simulation.

    Args:
        motion: position and velocity of the cart, angle and angular velocity of the pole.
        t: the number of actions taken.
    """

    motion: Float[Tensor, "B 4"]
    t: Int[Tensor, " B"]


@dataclass(frozen=True)
class CartPole(Task):
    """Balances a pole on a cart by pushing the cart left or right (Barto, Sutton and Anderson 1983).

    Equations (Florian 2007), constants and Euler integration are those of Gymnasium's CartPole-v1; in float64 the
    motion is identical.

    The reward is 1 in every step, including the step that ends the episode. The episode terminates when the pole tilts
    beyond 12 degrees or the cart leaves the track of +-2.4 m, and is truncated after `steps` steps. Steps after the end
    are undefined.

    Actions are integers (B,): 0 pushes left, 1 right. Observations are position, velocity, angle and angular velocity
    (B, 4), or position and angle (B, 2) without velocities, a common test of recurrent policies.

    Score: `episodic_return`, at the end of the episode.

    Args:
        steps: the maximum length of an episode.
        velocities: whether velocities are observed.
        antithetic: episodes come in pairs that are mirror images at their start, as those of `mirrored`.
    """

    steps: int = 500
    velocities: bool = True
    antithetic: bool = False

    fixed_length: ClassVar[bool] = False
    score: ClassVar[str] = "episodic_return"
    better: ClassVar[str] = "higher"

    def __post_init__(self) -> None:
        check_positive(steps=self.steps)

    @property
    def obs_size(self) -> int:
        return 4 if self.velocities else 2

    @property
    def action_space(self) -> Discrete:
        return Discrete(2)

    @property
    def mirrored(self) -> "CartPole":
        return replace(self, antithetic=True)

    def reset(self, batch: int, rng: torch.Generator) -> tuple[CartState, Step]:
        def draw(rows: int) -> Tensor:
            motion = torch.empty(rows, 4, dtype=self.dtype, device=rng.device)
            return motion.uniform_(-INIT_RANGE, INIT_RANGE, generator=rng)

        motion = opposite_pairs(draw, batch) if self.antithetic else draw(batch)
        state = CartState(motion, torch.zeros(batch, dtype=torch.long, device=rng.device))
        zeros, not_done = torch.zeros_like(motion[:, 0]), torch.zeros_like(state.t, dtype=torch.bool)
        scores = {"episodic_return": torch.full_like(zeros, torch.nan)}
        return state, Step(self._observe(motion), zeros, not_done, not_done, scores)

    def step(self, state: CartState, action: Tensor, rng: torch.Generator) -> tuple[CartState, Step]:
        check_integer_action(self, action)
        state = CartState(euler_step(state.motion, action), state.t + 1)
        position, _, angle, _ = state.motion.abs().unbind(-1)
        terminated = (position > X_THRESHOLD) | (angle > THETA_THRESHOLD)
        timeout = state.t >= self.steps
        scores = {"episodic_return": torch.where(terminated | timeout, state.t.to(self.dtype), torch.nan)}
        obs = self._observe(state.motion)
        return state, Step(obs, torch.ones_like(position), terminated, timeout > terminated, scores)  # timeout alone

    def _observe(self, motion: Tensor) -> Tensor:
        return motion if self.velocities else motion[:, ::2]

    def references(self) -> dict[str, dict[str, float]]:
        """Returns of an optimal, a memoryless and a random policy.

        The optimum is the longest episode. The other two are means over 512 simulated episodes: of the best of 21
        linear policies of position and angle, and of random pushes.
        """
        memoryless, chance = _mean_lengths(self.steps)
        return {"episodic_return": {"optimum": float(self.steps), "memoryless": memoryless, "chance": chance}}


def euler_step(motion: Float[Tensor, "B 4"], action: Int[Tensor, " B"]) -> Float[Tensor, "B 4"]:
    """The motion after one Euler step of length TAU.

    Args:
        motion: position, velocity, angle and angular velocity.
        action: 0 pushes left, 1 right.
    """
    _, velocity, angle, angular_velocity = motion.unbind(-1)
    cos, sin = angle.cos(), angle.sin()
    force = ((2 * FORCE_MAG) * action).sub_(FORCE_MAG)
    temp = torch.add(force, angular_velocity.square() * sin, alpha=MASSPOLE * HALF_LENGTH).div_(TOTAL_MASS)
    inertia = cos.square().mul_(-HALF_LENGTH * MASSPOLE / TOTAL_MASS).add_(HALF_LENGTH * 4 / 3)
    angular_acceleration = torch.addcmul(GRAVITY * sin, cos, temp, value=-1).div_(inertia)
    acceleration = torch.addcmul(temp, angular_acceleration, cos, value=-MASSPOLE * HALF_LENGTH / TOTAL_MASS)
    derivative = torch.stack([velocity, acceleration, angular_velocity, angular_acceleration], -1)
    return torch.add(motion, derivative, alpha=TAU)


@lru_cache(maxsize=16)
def _mean_lengths(steps: int, episodes: int = 512) -> tuple[float, float]:
    """Mean episode lengths of the best memoryless policy and of a random one."""
    rng = torch.Generator().manual_seed(0)
    weight = torch.linspace(-1, 1, 21, dtype=torch.float64).repeat_interleave(episodes)  # of the position
    motion = (
        torch.empty(episodes, 4, dtype=torch.float64).uniform_(-INIT_RANGE, INIT_RANGE, generator=rng).repeat(22, 1)
    )
    length = torch.zeros(len(motion), dtype=torch.float64)
    running = torch.ones_like(length, dtype=torch.bool)
    for _ in range(steps):
        push_right = motion[: len(weight), 2] + weight * motion[: len(weight), 0] > 0
        motion = euler_step(motion, torch.cat([push_right.long(), torch.randint(2, (episodes,), generator=rng)]))
        length += running
        running &= (motion[:, 0].abs() <= X_THRESHOLD) & (motion[:, 2].abs() <= THETA_THRESHOLD)
        if not running.any():
            break
    means = length.unflatten(0, (22, episodes)).mean(-1)
    return means[:-1].max().item(), means[-1].item()
