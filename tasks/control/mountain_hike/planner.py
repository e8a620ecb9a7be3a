"""Reference players of `MountainHike`: value iteration on a grid, and what the planner knows of its position.

Shapes: B episode, G points along a side of the grid, A action, T step.
"""

from functools import lru_cache
from math import pi

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import conv2d, grid_sample, pad

from tasks.control.mountain_hike.model import EFFORT, LONGEST_STEP, START, START_NOISE, STEP_NOISE, height_reward
from tasks.task import Task

POINTS, EXTENT, DIRECTIONS = 113, 1.12, 16  # along a side of the grid; half the side; directions of an action
SPACING = 2 * EXTENT / (POINTS - 1)


@lru_cache(maxsize=16)
def mean_returns(task: Task, noise: float, episodes: int = 2000) -> dict[str, float]:
    """Mean returns of the reference players by name.

    Args:
        task: a `MountainHike`.
        noise: standard deviation of its observations.
        episodes: simulated ones.
    """
    tables = value_iteration(task.steps)
    return {
        "chance": _chance(task, episodes),
        "open loop": planned_return(task, tables, episodes, noise=float("inf")),
        "plan on the observation": planned_return(task, tables, episodes, noise=0.0),
        "plan on a Kalman filter": planned_return(task, tables, episodes, noise=noise),
        "plan on the true position": planned_return(task, tables, episodes, noise=None),
    }


def value_iteration(steps: int) -> Float[Tensor, "T G G"]:
    """The expected return of being moved to a grid point, before the noise of the step; for each step of an episode.

    Args:
        steps: T.
    """
    axis = torch.linspace(-EXTENT, EXTENT, POINTS)
    points = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1)  # rows are y
    reward, value, tables = height_reward(points), torch.zeros(POINTS, POINTS), []
    for _ in range(steps):
        tables.append(_blur(reward + value))
        value = _action_values(tables[-1], points.flatten(0, 1)).amax(-1).view(POINTS, POINTS)
    return torch.stack(tables[::-1])


def planned_return(task: Task, tables: Float[Tensor, "T G G"], episodes: int, *, noise: float | None) -> float:
    """Mean return of a planner that acts as if its mean belief were its position.

    Args:
        task: a `MountainHike`.
        tables: as `value_iteration` returns them.
        episodes: simulated ones.
        noise: standard deviation of observations that the planner's Kalman filter assumes; 0: it believes them;
            infinite: it ignores them; None: it knows the true position.
    """
    rng = torch.Generator().manual_seed(0)
    state, step = task.reset(episodes, rng)
    mean, variance = torch.tensor(START).expand(episodes, 2), START_NOISE**2
    for table in tables:
        gain = 1.0 if noise is None else variance / (variance + noise**2)
        mean = mean + gain * ((state.position if noise is None else step.obs) - mean)
        action = _actions()[_action_values(table, mean).argmax(-1)]
        state, step = task.step(state, action, rng)
        mean, variance = mean + LONGEST_STEP * action, (1 - gain) * variance + STEP_NOISE**2
    return step.scores["episodic_return"].mean().item()


def _chance(task: Task, episodes: int) -> float:
    rng = torch.Generator().manual_seed(0)
    state, step = task.reset(episodes, rng)
    for _ in range(task.steps):
        state, step = task.step(state, 2 * torch.rand(episodes, 2, generator=rng) - 1, rng)
    return step.scores["episodic_return"].mean().item()


def _actions() -> Float[Tensor, "A 2"]:
    """Steps of full length in all directions, and none."""
    angle = torch.arange(DIRECTIONS) * (2 * pi / DIRECTIONS)
    return torch.cat([torch.stack([angle.cos(), angle.sin()], -1), torch.zeros(1, 2)])


def _action_values(table: Float[Tensor, "G G"], position: Float[Tensor, "B 2"]) -> Float[Tensor, "B A"]:
    """The expected return of each action, interpolated on the grid."""
    actions = _actions()
    moved = (position.unsqueeze(1) + LONGEST_STEP * actions) / EXTENT
    values = grid_sample(table[None, None], moved.unsqueeze(0).float(), padding_mode="border", align_corners=True)
    return values[0, 0] - EFFORT * LONGEST_STEP * actions.square().sum(-1)


def _blur(table: Float[Tensor, "G G"]) -> Float[Tensor, "G G"]:
    """The mean over the noise of a step."""
    reach = round(4 * STEP_NOISE / SPACING)
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) * SPACING / STEP_NOISE) ** 2)
    kernel = kernel / kernel.sum()
    padded = pad(table[None, None], [reach] * 4, mode="replicate")
    return conv2d(conv2d(padded, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))[0, 0]
