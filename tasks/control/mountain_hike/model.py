"""The rules of `MountainHike`: its constants, the reward of a position, and the linear Gaussian model of its walk."""

from dataclasses import dataclass
from math import pi

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

START, START_NOISE, LONGEST_STEP, STEP_NOISE = (-0.85, -0.85), 0.1, 0.05, 0.025
RIDGES = (  # factor, mean and standard deviation in x and y
    (1.0, (0.5, 0.5), (0.75, 0.1)),
    (0.8, (0.0, 0.2), (0.1, 0.75)),
    (0.55, (-0.375, -0.5), (0.75, 0.1)),
)
OUTSIDE, EFFORT = -6.0, 0.1


@dataclass(frozen=True)
class HikeModel:
    """The linear Gaussian model of a Mountain Hike, for the Kalman filter of `experts.belief.kalman`.

    Args:
        noise: standard deviation of an observation.
    """

    noise: float
    action_size: int = 2

    @property
    def transition(self) -> np.ndarray:
        """Of the position without an action."""
        return np.eye(2)

    @property
    def transition_covariance(self) -> np.ndarray:
        """Of the noise of a step."""
        return STEP_NOISE**2 * np.eye(2)

    @property
    def observation(self) -> np.ndarray:
        """Of the position."""
        return np.eye(2)

    @property
    def observation_covariance(self) -> np.ndarray:
        """Of the noise of an observation."""
        return self.noise**2 * np.eye(2)

    @property
    def start_mean(self) -> np.ndarray:
        """Of the first position."""
        return np.array(START)

    @property
    def start_covariance(self) -> np.ndarray:
        """Of the first position."""
        return START_NOISE**2 * np.eye(2)

    def control(self, action: Float[Tensor, "*B 2"]) -> Float[Tensor, "*B 2"]:
        """The displacement by an action; one that is longer than 1 is shortened to 1.

        Args:
            action: in units of the longest step.
        """
        length = action.square().sum(-1, keepdim=True)  # not norm, whose gradient at 0 is NaN
        return LONGEST_STEP * action / length.clamp(min=1).sqrt()


def height_reward(position: Float[Tensor, "*B 2"]) -> Float[Tensor, "*B"]:
    """The reward of being at a position, without the cost of the step.

    Args:
        position: x and y.
    """
    x, y = position.unbind(-1)
    heights = [
        factor / 3 * torch.exp(-0.5 * (((x - mx) / sx) ** 2 + ((y - my) / sy) ** 2)) / (2 * pi * sx * sy)
        for factor, (mx, my), (sx, sy) in RIDGES
    ]
    height = torch.stack(heights).amax(0)
    reward = 4 * (1 - (1 - height) ** 4) - 4.5 + (x + y) / 4
    return torch.where((position.abs() <= 1).all(-1), reward, OUTSIDE)
