"""Heat maps of a size grid: a score over two sizes at a time."""

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Any

from badger.evaluation.size_grid import AXES, GridCell, SizeSetting
from badger.figures.curves import Figure, new_figure

Pair = tuple[str, str]  # axes of rows and columns
Values = dict[str, list[int | None]]


def heat_maps(rows: Sequence[GridCell], trained: SizeSetting, score: str) -> Figure:
    """A heat map for each pair of varied axes, the other sizes as in training, or else the first ones.

    Colors are logarithmic where all finite scores are above 0. Sizes of training have a star, and their cell a frame.
    Failed cells and scores that are not finite have a text and no color. Published results are in parentheses.

    Args:
        rows: the cells of the grid.
        trained: the sizes of training.
        score: name of the score.
    """
    values: Values = {axis: list(dict.fromkeys(getattr(row, axis) for row in rows)) for axis in AXES}
    varied = [axis for axis in AXES if len(values[axis]) > 1]
    shown = varied if len(varied) > 1 else [*varied, *(axis for axis in AXES if axis not in varied)][:2]
    pairs = list(combinations(sorted(shown, key=AXES.index), 2))
    by_sizes = {tuple(getattr(row, axis) for axis in AXES): row for row in rows}
    colors = _color_scale([row.mean for row in rows if math.isfinite(row.mean)])
    num_rows, num_columns = (max(len(values[pair[side]]) for pair in pairs) for side in (0, 1))
    columns = min(3, len(pairs))
    lines = math.ceil(len(pairs) / columns)
    figure = new_figure(columns * (1.6 + 0.85 * num_columns), lines * (1.4 + 0.55 * num_rows))
    for i, (row_axis, column_axis) in enumerate(pairs):
        fixed = {axis: trained[axis] if trained[axis] in values[axis] else values[axis][0] for axis in AXES}
        cells = [
            [by_sizes[tuple((fixed | {row_axis: y, column_axis: x}).values())] for x in values[column_axis]]
            for y in values[row_axis]
        ]
        others = ", ".join(
            f"{axis} {fixed[axis]}" for axis in AXES if axis not in (row_axis, column_axis) and fixed[axis]
        )
        axes = figure.add_subplot(lines, columns, i + 1, xlabel=column_axis, ylabel=row_axis, facecolor="0.85")
        axes.set_title(f"{score}\n{others}", fontsize=9)
        _draw(axes, cells, colors)
        _mark(axes, (row_axis, column_axis), values, trained)
    return figure


def _color_scale(finite: list[float]) -> dict[str, Any]:
    """The color scale that all maps share."""
    if not finite:
        return {}
    return {"norm": "log" if min(finite) > 0 else "linear", "vmin": min(finite), "vmax": max(finite)}


def _draw(axes: Any, cells: list[list[GridCell]], colors: dict[str, Any]) -> None:
    means = [[row.mean if math.isfinite(row.mean) else math.nan for row in line] for line in cells]
    axes.imshow(means, cmap="viridis_r", aspect="auto", **colors)
    box = {"facecolor": "white", "alpha": 0.7, "edgecolor": "none", "pad": 1.5}
    for i, line in enumerate(cells):
        for j, row in enumerate(line):
            axes.text(j, i, _text(row), ha="center", va="center", fontsize=8, bbox=box)


def _mark(axes: Any, pair: Pair, values: Values, trained: SizeSetting) -> None:
    for axis, name in zip((axes.yaxis, axes.xaxis), pair, strict=True):
        ticks = [f"{size}*" if size == trained[name] else f"{size}" for size in values[name]]
        axis.set_ticks(range(len(ticks)), ticks)
    if all(trained[name] in values[name] for name in pair):
        y, x = (values[name].index(trained[name]) for name in pair)
        left, right, top, bottom = x - 0.5, x + 0.5, y - 0.5, y + 0.5
        axes.plot([left, right, right, left, left], [top, top, bottom, bottom, top], color="red", lw=2, clip_on=False)


def _text(row: GridCell) -> str:
    text = "failed" if row.failure else f"{row.mean:.3g}"
    nonfinite = f"\n{row.nonfinite_fraction:.0%} not finite" if row.nonfinite_fraction > 0 else ""
    return text + nonfinite + ("" if row.published is None else f"\n({row.published:g})")
