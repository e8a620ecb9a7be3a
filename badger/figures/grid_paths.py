"""Plots of the paths of agents through a grid."""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from badger.figures.curves import Figure, new_figure
from tasks import Path

MAX_PANELS = 4  # episodes
PATH_OFFSET = 0.55  # total drift of a path in cells, so that a cell entered twice shows both steps


def plot_paths(path: Path) -> Figure:
    """Paths of the first episodes: an arrow for each step, from dark (first) to bright (last).

    The start is a circle and the goal a star. A dotted line leads from a reached goal to the new position of the agent.
    A step into a wall is a point.

    Args:
        path: the paths.
    """
    count = min(MAX_PANELS, path.goals.shape[0])
    height, width = path.walls.shape
    columns = math.ceil(math.sqrt(count * height / width))  # long corridors are stacked
    rows = math.ceil(count / columns)
    panel = 3.6 * min(2, max(1, width / height))
    figure = new_figure(panel * columns, (panel * height / width + 0.4) * rows + 0.4)
    figure.suptitle("from the first step, dark, to the last, bright", fontsize=9)
    for episode in range(count):
        axes = figure.add_subplot(rows, columns, episode + 1)
        axes.set_axis_off()
        axes.set_title(f"goal reached {int(path.reached[:, episode].sum())} times", fontsize=9)
        _draw(axes, path, episode)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), fontsize=7, loc="lower center", ncols=3)
    return figure


def _draw(axes: Any, path: Path, episode: int) -> None:
    axes.imshow(path.walls.cpu().numpy(), cmap="Greys", vmax=1.6, interpolation="nearest")
    (y, x), (goal_y, goal_x) = path.positions[0, episode].tolist(), path.goals[episode].tolist()
    axes.plot(x, y, "o", ms=9, mec="C3", mfc="none", ls="", label="start")
    axes.plot(goal_x, goal_y, "*", ms=15, color="gold", mec="0.3", ls="", label="goal")
    tails, heads = step_segments(path, episode)
    delta = heads - tails
    axes.quiver(
        tails[:, 1], tails[:, 0], delta[:, 1], delta[:, 0], torch.arange(len(delta)),
        angles="xy", scale_units="xy", scale=1, width=0.007, cmap="viridis", zorder=3,
    )  # fmt: skip
    reached = path.reached[:-1, episode].cpu().nonzero().flatten()  # no arrow starts after the last step
    gap = torch.full((len(reached), 2), torch.nan)
    jumps = torch.stack([heads[reached], tails[reached + 1], gap], 1).flatten(0, 1)  # one line with gaps is faster
    axes.plot(jumps[:, 1], jumps[:, 0], ":", lw=0.7, color="C3", alpha=0.5, zorder=2, label="moved by the task")


def step_segments(path: Path, episode: int) -> tuple[Float[Tensor, "T 2"], Float[Tensor, "T 2"]]:
    """Start and end of each step of a path, with a drift that keeps repeated steps apart.

    Args:
        path: the paths.
        episode: row of the batch.
    """
    positions, reached = path.positions[:, episode].cpu(), path.reached[:, episode].cpu()
    heads = torch.where(reached.unsqueeze(-1), path.goals[episode].cpu(), positions[1:])
    offset = torch.linspace(-PATH_OFFSET / 2, PATH_OFFSET / 2, len(heads)).unsqueeze(-1)
    return positions[:-1] + offset, heads + offset
