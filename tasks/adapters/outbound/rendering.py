"""An episode as it stands, as a picture or as text, of what its task says of itself.

On a grid (`Task.path`) the walls, the way gone, the goal and the agent; else what is observed, a bar each number, and
below it, where there is a target, the last action beside it.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from tasks.task import Step, Task

CELL, BAR, HEIGHT = 12, 6, 48  # pixels
FREE, WALL, VISITED, GOAL, AGENT = range(5)
COLOURS = np.array([(255, 255, 255), (60, 60, 70), (190, 215, 240), (240, 190, 40), (200, 50, 50)], np.uint8)
SIGNS = ".#+*@"
UP, DOWN, MARK, PAPER = (70, 120, 180), (200, 110, 60), (40, 40, 40), (255, 255, 255)


def render_rgb(task: Task, opened: Any, state: Any, step: Step, actions: list[Tensor]) -> np.ndarray:
    """(height, width, 3) of bytes, of the same size in every step of a task."""
    cells = grid_cells(task, opened, actions)
    if cells is not None:
        return COLOURS[cells].repeat(CELL, 0).repeat(CELL, 1)
    rows = [_bars(row) for row in _array(step.obs[0]).reshape(-1, step.obs.shape[-1])]
    target = task.target(state)
    if target is not None:
        last = actions[-1] if actions else torch.zeros_like(target)
        rows.append(_bars(_array(last[0]), _array(target[0])))
    width = max(row.shape[1] for row in rows)
    return np.concatenate([np.pad(r, ((0, 0), (0, width - r.shape[1]), (0, 0)), constant_values=255) for r in rows])


def render_ansi(task: Task, opened: Any, step: Step, actions: list[Tensor]) -> str:
    """Some lines."""
    made, cells, words = len(actions), grid_cells(task, opened, actions), task.step_labels(opened)
    lines = [f"{type(task).__name__}, step {made} of {task.steps}"]
    if cells is not None:
        lines += ["".join(SIGNS[cell] for cell in row) for row in cells]
    elif words is not None:
        lines.append(" ".join(f"[{word}]" if t == made else word for t, word in enumerate(words)))
    else:
        lines += [f"seen    {_line(row)}" for row in _array(step.obs[0]).reshape(-1, step.obs.shape[-1])]
    if actions:
        lines.append(f"done    {_line(_array(actions[-1][0]).reshape(-1))}")
        lines.append(f"reward  {_line(_array(step.reward[0]).reshape(-1))}")
    due = {name: float(score[0]) for name, score in step.scores.items() if score[0] == score[0]}
    return "\n".join([*lines, *(f"{name:<7} {score:.3g}" for name, score in due.items())])


def grid_cells(task: Task, opened: Any, actions: list[Tensor]) -> np.ndarray | None:
    """What is in each cell after these actions, (rows, columns); None where there is no grid."""
    made = torch.stack(actions) if actions else torch.zeros(1, 1, dtype=torch.long)  # a way has one step at least
    way = task.path(opened, made)
    if way is None:
        return None
    cells = np.where(way.walls.cpu().numpy(), WALL, FREE)
    places = way.positions[: len(actions) + 1, 0].tolist()
    for row, column in places:
        cells[row, column] = VISITED
    cells[tuple(way.goals[0].tolist())] = GOAL
    cells[tuple(places[-1])] = AGENT
    return cells


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().double().numpy()


def _line(values: np.ndarray) -> str:
    return " ".join(f"{value:.3g}" for value in values)


def _bars(values: np.ndarray, marks: np.ndarray | None = None) -> np.ndarray:
    """A bar for each number, up from the middle or down; a line where it should end."""
    paper = np.full((HEIGHT, BAR * len(values), 3), PAPER, np.uint8)
    most = max(1.0, float(np.abs(values).max()), 0.0 if marks is None else float(np.abs(marks).max()))
    middle = HEIGHT // 2
    for i, value in enumerate(values):
        columns, end = slice(BAR * i, BAR * i + BAR - 1), middle - round(value / most * (middle - 1))
        paper[min(end, middle) : max(end, middle), columns] = UP if value > 0 else DOWN
        if marks is not None:
            paper[middle - round(marks[i] / most * (middle - 1)), columns] = MARK
    paper[middle, ::2] = MARK
    return paper
