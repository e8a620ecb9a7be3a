"""A forest plot: estimates with intervals, one line for each, beside a reference line."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from badger.figures.curves import Figure, new_figure

ROW_HEIGHT = 0.22  # inches


class ForestRow(NamedTuple):
    """A line of a forest plot.

    Args:
        label: beside it.
        value: the estimate.
        low, high: ends of its interval.
        color: of matplotlib.
    """

    label: str
    value: float
    low: float
    high: float
    color: str


def forest_plot(
    panels: Mapping[str, Sequence[ForestRow]], references: Mapping[str, float], scales: Mapping[str, str]
) -> Figure:
    """Panels one above the other, each with a line for each estimate.

    Args:
        panels: by the label of the x-axis; at least one row each.
        references: by panel, the x of a vertical line.
        scales: by panel, the scale of the x-axis: "linear" or "symlog".
    """
    heights = [len(rows) + 4 for rows in panels.values()]
    figure = new_figure(10, ROW_HEIGHT * sum(heights))
    grid = figure.add_gridspec(len(panels), height_ratios=heights)
    for i, (label, rows) in enumerate(panels.items()):
        axes = figure.add_subplot(grid[i])
        axes.axvline(references[label], color="0.5", lw=1)
        for y, row in enumerate(rows):
            axes.plot([row.low, row.high], [y, y], color=row.color, lw=2, solid_capstyle="butt")
            axes.plot(row.value, y, "o", color=row.color, ms=5)
        axes.set_yticks(range(len(rows)), [row.label for row in rows], fontsize=8)
        axes.set_xscale(scales[label])
        axes.set(xlabel=label, ylim=(len(rows) - 0.5, -0.5))
    return figure
