"""Learning curves, confidence bands, scores over the steps of an episode, and performance profiles."""

import importlib
import math
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from torch import Tensor

Figure: TypeAlias = Any
"""A matplotlib.figure.Figure; matplotlib is imported when a figure is made."""

DECADES = 5  # of a logarithmic axis: a moving average of errors that are 0 decays without bound
LABEL_GAP = 0.045  # between two labels, as a fraction of the height of the axes


def new_figure(width: float, height: float) -> Figure:
    """An empty figure.

    Args:
        width: in inches.
        height: in inches.
    """
    import matplotlib.figure

    return matplotlib.figure.Figure(figsize=(width, height), dpi=90, layout="constrained")


def matplotlib_module(name: str) -> Any:
    """A module of matplotlib, imported when it is needed.

    Args:
        name: such as "animation".
    """
    import matplotlib

    return importlib.import_module(f"{matplotlib.__name__}.{name}")


def integer_ticks(*axes: Any) -> None:
    """Puts ticks at whole numbers only.

    Args:
        axes: `xaxis` or `yaxis` of a plot.
    """
    for axis in axes:
        axis.set_major_locator(matplotlib_module("ticker").MaxNLocator(integer=True, min_n_ticks=1))


def add_rounded_box(
    axes: Any, x: float, y: float, width: float, height: float, rounding: float, **options: Any
) -> None:
    """Adds a rectangle with rounded corners to an axis.

    Args:
        axes: of a figure.
        x, y: lower left corner.
        width, height: size.
        rounding: radius of the corners.
        options: of matplotlib's patches, such as `fc`.
    """
    import matplotlib.patches

    style = f"round,pad=0,rounding_size={rounding}"
    axes.add_patch(matplotlib.patches.FancyBboxPatch((x, y), width, height, boxstyle=style, **options))


def learning_curves(
    curves: dict[str, list[tuple[list[int], list[float]]]], references: dict[str, float], score: str
) -> Figure:
    """Learning curves: a score over outer steps, with reference lines; logarithmic where all values are above 0.

    Args:
        curves: by name, (steps, values) of each seed.
        references: scores by name.
        score: name of the score.
    """
    figure = _lines(curves, score)
    _draw_references(figure.axes[0], references)
    return figure


class Band(NamedTuple):
    """A curve with a confidence band.

    Args:
        x: (K,).
        y: (K,).
        low: (K,), lower end of the band.
        high: (K,), upper end.
    """

    x: np.ndarray
    y: np.ndarray
    low: np.ndarray
    high: np.ndarray


def learning_bands(bands: dict[str, Band], references: dict[str, float], score: str) -> Figure:
    """Learning curves with confidence bands, with reference lines.

    Args:
        bands: by name, x in outer steps.
        references: scores by name.
        score: name of the score.
    """
    figure = _lines({name: [(band.x.tolist(), band.y.tolist())] for name, band in bands.items()}, score)
    for i, band in enumerate(bands.values()):
        figure.axes[0].fill_between(band.x, band.low, band.high, color=f"C{i}", alpha=0.18, lw=0)
    _draw_references(figure.axes[0], references)
    return figure


def _lines(curves: dict[str, list[tuple[list[int], list[float]]]], score: str) -> Figure:
    figure = new_figure(7, 4)
    axes = figure.add_subplot(xlabel="outer step", ylabel=score)
    integer_ticks(axes.xaxis)
    for i, (name, seeds) in enumerate(curves.items()):
        for j, (steps, values) in enumerate(seeds):
            axes.plot(steps, values, color=f"C{i}", alpha=0.8, lw=1.3, label=name if j == 0 else None)
    return figure


def _draw_references(axes: Any, references: dict[str, float]) -> None:
    """Horizontal reference lines; labels of close lines are moved apart."""
    values = np.concatenate([line.get_ydata() for line in axes.lines] or [[]])
    if len(values) and values.min() > 0:
        axes.set_yscale("log")
        low, high = axes.dataLim.intervaly
        axes.set_ylim(max(low, high / 10**DECADES) / 1.3, max([high, *references.values()]) * 1.3)
    floor = axes.get_ylim()[0]
    shown = {line: v for line, v in references.items() if axes.get_yscale() == "linear" or v > floor}
    for value in shown.values():
        axes.axhline(value, color="0.6", lw=0.9, ls="--")
    axes.get_ylim()  # updates the limits of the axes
    to_axes = axes.transData + axes.transAxes.inverted()
    y = -math.inf
    for line, value in sorted(shown.items(), key=lambda item: item[1]):
        y = max(to_axes.transform((0, value))[1], y + LABEL_GAP)
        axes.text(1, y, f" {line} {value:.3g}", transform=axes.transAxes, fontsize=8, va="center")
    axes.legend(fontsize=8)


def performance_profiles(bands: dict[str, Band], score: str, fraction: str) -> Figure:
    """Performance profiles: fraction of runs over thresholds of a score; logarithmic where all thresholds are above 0.

    Args:
        bands: by name, x are thresholds.
        score: label of the x-axis.
        fraction: label of the y-axis.
    """
    figure = new_figure(7, 4)
    axes = figure.add_subplot(xlabel=score, ylabel=fraction, ylim=(-0.03, 1.03))
    for i, (name, band) in enumerate(bands.items()):
        axes.step(band.x, band.y, where="post", color=f"C{i}", lw=1.3, label=name)
        axes.fill_between(band.x, band.low, band.high, step="post", color=f"C{i}", alpha=0.18, lw=0)
    if all((band.x > 0).all() for band in bands.values()):
        axes.set_xscale("log")
    axes.legend(fontsize=8)
    return figure


def inner_curve(values: Tensor, name: str) -> Figure:
    """A score over the steps of an episode.

    Args:
        values: (T,).
        name: of the score.
    """
    figure = new_figure(5, 3)
    axes = figure.add_subplot(xlabel="inner step", ylabel=name)
    axes.plot(range(1, len(values) + 1), values.tolist(), marker="o", ms=3)
    integer_ticks(axes.xaxis)
    axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
    return figure


def asked_returns(achieved: Mapping[float, tuple[float, float]]) -> Figure:
    """Mean returns over the returns that an agent was asked for, beside the line on which both are equal.

    Args:
        achieved: by the return asked for, the mean of the achieved ones and its standard error.
    """
    figure = new_figure(5, 4)
    axes = figure.subplots()
    asked, (means, errors) = list(achieved), zip(*achieved.values(), strict=True)
    axes.plot(asked, asked, color="0.6", linestyle="--", label="as asked")
    intervals = [0 if math.isnan(error) else 1.96 * error for error in errors]
    axes.errorbar(asked, means, yerr=intervals, marker="o", label="achieved")
    axes.set(xlabel="return asked for", ylabel="mean return, 95 % interval")
    axes.legend()
    return figure
