"""A diagram of an episode: experts that share weights, with their states, messages and growing memories."""

from collections.abc import Sequence
from typing import Any

from badger.figures.curves import Figure, add_rounded_box, new_figure

PITCH, LANE, TOP = 4.5, 2.2, 1.45  # width of a step, height of an expert, height of observations above the first one
INK, WIRE, STATE, MESSAGE, READ, WRITE = "#2f4a68", "#a3adb8", "#5b8c5a", "#c8605f", "#e08f17", "#3f7fb5"
INNER = "inner loop: an episode; the weights, shared by all experts, are fixed; states and memories change"
OUTER = "outer loop: meta-training; the weights change, by the gradient through episodes or by reinforcement learning"
FILL = {"expert": "#dce6f2", "task": "#eceff2", "row": "#f5f5f5", "read": "#f9dca6", "write": "#a9cbe6"}


def plot_episode_diagram(experts: int = 3, steps: int = 3, first_step: int = 4, top_k: int = 2) -> Figure:
    """A diagram of consecutive steps of an episode, as columns: observation, experts, memory reads, messages, action.

    Below each expert are the rows of its memory, one more in each step. Orange arrows lead from its query to the rows
    that are read, a blue one to the row that is written.

    Args:
        experts: number of experts.
        steps: number of columns.
        first_step: inner step of the first column; the memory has one row for each step before.
        top_k: rows of a read.
    """
    width, bottom = steps * PITCH, -experts * LANE
    left, right, low, high = -0.75, width - 0.35, bottom - 1.15, TOP + 1.15
    figure = new_figure(0.72 * (right - left), 0.72 * (high - low))
    axes = figure.add_subplot(xlim=(left, right), ylim=(low, high), aspect="equal")
    axes.set_axis_off()
    for column in range(steps):
        x, step, is_last = column * PITCH, first_step + column, column == steps - 1
        _draw_step(axes, x, f"step {step}", experts)
        for expert in range(experts):
            y = -expert * LANE
            reads = [(expert + column + 2 * k) % (step - 1) for k in range(top_k)]  # any that differ
            _draw_expert(axes, x, y, f"expert {expert + 1}", rows=step - 1, reads=reads)
            if not is_last:
                _arrow(axes, (x + 2.12, y - 0.08), (x + PITCH + 0.68, y - 0.08), STATE, "state" if not expert else "")
            if expert + 1 < experts:
                _arrow(axes, (x + 2.12, y - 0.24), (x + 2.12, y - LANE + 0.26), MESSAGE, both=True, bend=-0.34)
        if not is_last:
            _arrow(axes, (x + 3.4, TOP), (x + PITCH - 0.43, TOP), INK, "task")
    axes.text(2.56, -LANE / 2, "messages", color=MESSAGE, fontsize=10, va="center")
    axes.text(0.66, -0.62, "top-k\nread", color=READ, fontsize=9, ha="right", va="center")
    axes.text(1.7, -0.56, "write", color=WRITE, fontsize=8.5, ha="left", va="center")
    left, right = -0.42, width - 1.1
    for y, text in ((bottom + 0.62, INNER), (bottom - 0.4, OUTER)):
        axes.plot([left, left, right, right], [y + 0.16, y, y, y + 0.16], color=INK, lw=1.2)
        axes.text((left + right) / 2, y - 0.14, text, color=INK, fontsize=10, ha="center", va="top")
    axes.plot([right, right], [bottom - 0.4, bottom + 0.3], color=INK, lw=1.2)
    _arrow(axes, (left, bottom - 0.3), (left, bottom + 0.3), INK)
    return figure


def _draw_step(axes: Any, x: float, title: str, experts: int) -> None:
    """Observation and action of a step, connected with every expert."""
    last = -(experts - 1) * LANE + 0.12
    axes.text(x + 1.4, TOP + 0.62, title, color=INK, fontsize=11, weight="bold", ha="center")
    _box(axes, x - 0.42, TOP - 0.28, 1.5, 0.56, "task", "observation")
    _box(axes, x + 2.3, TOP - 0.28, 1.1, 0.56, "task", "action")
    axes.plot([x, x], [TOP - 0.28, last], color=WIRE, lw=1.2, zorder=0)
    axes.plot([x + 2.85, x + 2.85], [TOP - 0.5, last], color=WIRE, lw=1.2, zorder=0)
    _arrow(axes, (x + 2.85, TOP - 0.6), (x + 2.85, TOP - 0.26), WIRE)
    for y in (-expert * LANE + 0.12 for expert in range(experts)):
        _arrow(axes, (x, y), (x + 0.68, y), WIRE)
        axes.plot([x + 2.1, x + 2.85], [y, y], color=WIRE, lw=1.2, zorder=0)


def _draw_expert(axes: Any, x: float, y: float, name: str, *, rows: int, reads: Sequence[int]) -> None:
    """An expert with the rows of its memory: old rows, those that are read, and the one that is written."""
    _box(axes, x + 0.7, y - 0.28, 1.4, 0.56, "expert", name)
    size, left, bottom = 0.28, x + 0.56, y - 1.2
    for row in range(rows + 1):
        kind = "write" if row == rows else "read" if row in reads else "row"
        _box(axes, left + row * size, bottom, 0.84 * size, 0.84 * size, kind, "", rounding=0.02)
        if kind != "row":
            start, color = (x + 1.15, READ) if kind == "read" else (x + 1.6, WRITE)
            _arrow(axes, (start, y - 0.28), (left + (row + 0.42) * size, bottom + 0.84 * size), color)


def _box(
    axes: Any, x: float, y: float, width: float, height: float, kind: str, text: str, *, rounding: float = 0.08
) -> None:
    add_rounded_box(axes, x, y, width, height, rounding, fc=FILL[kind], ec=INK, lw=0.9)
    axes.text(x + width / 2, y + height / 2, text, ha="center", va="center", fontsize=9.5, color=INK)


def _arrow(
    axes: Any, start: tuple, end: tuple, color: str, text: str = "", *, both: bool = False, bend: float = 0.0
) -> None:
    style = f"{'<|-|>' if both else '-|>'},head_width=0.17,head_length=0.34"
    options = {"arrowstyle": style, "connectionstyle": f"arc3,rad={bend}", "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", end, start, arrowprops={**options, "color": color, "lw": 1.2})
    axes.text((start[0] + end[0]) / 2, end[1] + 0.08, text, color=color, fontsize=9, ha="center", va="bottom")
