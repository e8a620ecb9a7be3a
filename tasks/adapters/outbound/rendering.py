"""Renders an episode as an image or text.

Of a grid task (`Task.path`): walls, visited cells, goal and agent. Of other tasks: the observation as a bar chart, and
below it the last action beside the target, if there is one.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tasks.task import Continuous, Discrete, Mixed, MultiDiscrete, Step, Task

CELL, BAR, HEIGHT = 12, 6, 48  # pixels
FREE, WALL, VISITED, GOAL, AGENT = range(5)
COLORS = np.array([(255, 255, 255), (60, 60, 70), (190, 215, 240), (240, 190, 40), (200, 50, 50)], np.uint8)
SIGNS = ".#+*@"
UP, DOWN, MARK, PAPER = (70, 120, 180), (200, 110, 60), (40, 40, 40), (255, 255, 255)


def render_rgb(task: Task, initial: Any, state: Any, step: Step, actions: list[Tensor]) -> np.ndarray:
    """An image (height, width, 3) of bytes, of the same size in every step of a task."""
    picture = render_grid(task, initial, actions)
    if picture is not None:
        return picture
    rows = [_bar_chart(row) for row in _array(step.obs[0]).reshape(-1, step.obs.shape[-1])]
    target = task.target(state)
    if target is not None:
        last_action = actions[-1] if actions else torch.zeros_like(target)
        rows.append(_bar_chart(_array(last_action[0]), _array(target[0])))
    width = max(row.shape[1] for row in rows)
    return np.concatenate([np.pad(r, ((0, 0), (0, width - r.shape[1]), (0, 0)), constant_values=255) for r in rows])


def render_grid(task: Task, initial: Any, actions: Sequence[Tensor]) -> np.ndarray | None:
    """The grid after these actions, (height, width, 3) bytes; None for a task without a grid."""
    cells = grid_cells(task, initial, actions)
    return None if cells is None else COLORS[cells].repeat(CELL, 0).repeat(CELL, 1)


def render_ansi(task: Task, initial: Any, step: Step, actions: list[Tensor]) -> str:
    """Lines of text: the step, the grid, labels or observation, the last action, its reward and the scores."""
    t, cells, labels = len(actions), grid_cells(task, initial, actions), task.step_labels(initial)
    lines = [f"{type(task).__name__}, step {t} of {task.steps}"]
    if cells is not None:
        lines += ["".join(SIGNS[cell] for cell in row) for row in cells]
    elif labels is not None:
        lines.append(" ".join(f"[{label}]" if i == t else label for i, label in enumerate(labels)))
    else:
        lines += [f"obs     {_line(row)}" for row in _array(step.obs[0]).reshape(-1, step.obs.shape[-1])]
    if actions:
        lines.append(f"action  {_line(_array(actions[-1][0]).reshape(-1))}")
        lines.append(f"reward  {_line(_array(step.reward[0]).reshape(-1))}")
    scores = {name: float(score[0]) for name, score in step.scores.items() if score[0] == score[0]}
    return "\n".join([*lines, *(f"{name:<7} {score:.3g}" for name, score in scores.items())])


def grid_cells(task: Task, initial: Any, actions: Sequence[Tensor]) -> np.ndarray | None:
    """The content of each cell after these actions, (rows, columns); None for a task without a grid."""
    taken = torch.stack(list(actions) or [_zero_action(task)])  # a path has at least one step
    path = task.path(initial, taken)
    if path is None:
        return None
    cells = np.where(path.walls.cpu().numpy(), WALL, FREE)
    positions = path.positions[: len(actions) + 1, 0].tolist()
    for row, column in positions:
        cells[row, column] = VISITED
    cells[tuple(path.goals[0].tolist())] = GOAL
    cells[tuple(positions[-1])] = AGENT
    return cells


def _zero_action(task: Task) -> Tensor:
    """An action of zeros, with a batch of 1."""
    actors = (1,) if task.agents is None else (1, task.agents)
    match task.action_space:
        case Discrete():
            return torch.zeros(actors, dtype=torch.long)
        case MultiDiscrete(nvec=nvec):
            return torch.zeros(*actors, len(nvec), dtype=torch.long)
        case Continuous(size=size):
            return torch.zeros(*actors, size, dtype=task.dtype)
        case Mixed(choices=choices, numbers=numbers):
            return torch.zeros(*actors, len(choices.nvec) + numbers.size, dtype=task.dtype)


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().double().numpy()


def _line(values: np.ndarray) -> str:
    return " ".join(f"{value:.3g}" for value in values)


def _bar_chart(values: np.ndarray, targets: np.ndarray | None = None) -> np.ndarray:
    """An image with a bar for each value, up or down from the middle, and a line at each target."""
    image = np.full((HEIGHT, BAR * len(values), 3), PAPER, np.uint8)
    scale = max(1.0, float(np.abs(values).max()), 0.0 if targets is None else float(np.abs(targets).max()))
    middle = HEIGHT // 2
    for i, value in enumerate(values):
        columns, end = slice(BAR * i, BAR * i + BAR - 1), middle - round(value / scale * (middle - 1))
        image[min(end, middle) : max(end, middle), columns] = UP if value > 0 else DOWN
        if targets is not None:
            image[middle - round(targets[i] / scale * (middle - 1)), columns] = MARK
    image[middle, ::2] = MARK
    return image
