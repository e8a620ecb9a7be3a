"""Pictures of where agents went on a grid."""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from badger.figures.curves import Figure, new_figure
from tasks import Path

MAX_PANELS = 4  # episodes that get a panel
PATH_OFFSET = 0.55  # of a cell: by how much the path moves aside over the episode, so that what is gone again is seen


def plot_paths(path: Path) -> Figure:
    """The first episodes: walls dark, an arrow a step, from dark in the first to bright in the last.

    The start is a circle, the goal a star. Where the goal was reached, a dotted line leads from it to where the agent
    was put. A step that ran into a wall is a point.
    """
    count = min(MAX_PANELS, path.goals.shape[0])
    high, wide = path.walls.shape
    columns = math.ceil(math.sqrt(count * high / wide))  # a long corridor is drawn above the next one
    rows = math.ceil(count / columns)
    across = 3.6 * min(2, max(1, wide / high))
    figure = new_figure(across * columns, (across * high / wide + 0.4) * rows + 0.4)
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
    (y, x), (down, right) = path.positions[0, episode].tolist(), path.goals[episode].tolist()
    axes.plot(x, y, "o", ms=9, mec="C3", mfc="none", ls="", label="start")
    axes.plot(right, down, "*", ms=15, color="gold", mec="0.3", ls="", label="goal")
    tails, heads = step_segments(path, episode)
    went = heads - tails
    axes.quiver(
        tails[:, 1], tails[:, 0], went[:, 1], went[:, 0], torch.arange(len(went)),
        angles="xy", scale_units="xy", scale=1, width=0.007, cmap="viridis", zorder=3,
    )  # fmt: skip
    put = path.reached[:-1, episode].cpu().nonzero().flatten()  # where the last step led is seen in no arrow
    gap = torch.full((len(put), 2), torch.nan)
    jumps = torch.stack([heads[put], tails[put + 1], gap], 1).flatten(0, 1)  # one broken line is drawn quickly
    axes.plot(jumps[:, 1], jumps[:, 0], ":", lw=0.7, color="C3", alpha=0.5, zorder=2, label="put elsewhere")


def step_segments(path: Path, episode: int) -> tuple[Float[Tensor, "T 2"], Float[Tensor, "T 2"]]:
    """From where to where each step went, moved aside by and by."""
    places, reached = path.positions[:, episode].cpu(), path.reached[:, episode].cpu()
    heads = torch.where(reached.unsqueeze(-1), path.goals[episode].cpu(), places[1:])
    aside = torch.linspace(-PATH_OFFSET / 2, PATH_OFFSET / 2, len(heads)).unsqueeze(-1)
    return places[:-1] + aside, heads + aside
