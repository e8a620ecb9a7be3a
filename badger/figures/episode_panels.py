"""Record of one episode, step by step, and the panels that draw a step of it.

Shapes: T inner step, E expert, K edge, A numbers or options of an action, P line (an output, or an agent).
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from torch import Tensor

from badger.figures.curves import integer_ticks, matplotlib_module
from comms import Edges

MAX_EXPERTS, MAX_EDGES, MAX_LINES = 16, 120, 8  # drawn
INK, PAPER, NOW = "#2f4a68", "#ffffff", "#999999"
Update = Callable[[int], None]
"""Draws the inner step of that index."""


class EpisodeFrames(NamedTuple):
    """What an agent does in each step of one episode, on the host.

    Args:
        edges: who may hear whom, each part (K,).
        weights: the weight of each edge in the delivery after a step.
        experts: E.
        reads: the read weights of each expert; None: no memory.
        actions: the numbers of an action, or the chosen options; of several agents those of each.
        probabilities: of the options of one discrete choice; None: another action.
        target: the optimal numbers; None: unknown.
        owners: the expert that makes each output; None: all do.
        rewards: after each step.
        scores: of the task after each step, (T,) by name; NaN where there is none.
        pictures: of the world before each step, as bytes (height, width, 3), and after the last one; [] for none.
    """

    edges: Edges
    weights: Float[Tensor, "T K"]
    experts: int
    reads: Float[Tensor, "T E slots"] | None
    actions: Tensor
    probabilities: Float[Tensor, "T A"] | None
    target: Tensor | None
    owners: list[int] | None
    rewards: Float[Tensor, " T"]
    scores: dict[str, Float[Tensor, " T"]]
    pictures: Sequence[np.ndarray] = ()

    @property
    def steps(self) -> int:
        """T."""
        return len(self.rewards)


def step_title(frames: EpisodeFrames, step: int) -> str:
    """The inner step, the return so far, and the scores after it, in one line.

    Args:
        frames: of the episode.
        step: index of the inner step.
    """
    words = [f"inner step {step + 1} of {frames.steps}", f"return so far {float(frames.rewards[: step + 1].sum()):.3g}"]
    scores = {name: float(values[step]) for name, values in frames.scores.items()}
    return ", ".join([*words, *(f"{name} {value:.3g}" for name, value in scores.items() if math.isfinite(value))])


def episode_panels(frames: EpisodeFrames) -> list[Callable[[Any, EpisodeFrames], Update]]:
    """The panels that have something to show: each draws on axes what stays, and returns what draws a step.

    Args:
        frames: of the episode.
    """
    panels = [_draw_pictures] if len(frames.pictures) else []
    panels += [_draw_messages] if frames.experts > 1 and frames.weights.abs().sum() > 0 else []
    panels += [_draw_reads] if frames.reads is not None else []
    return [*panels, _draw_actions if frames.probabilities is None else _draw_probabilities]


def _color(frames: EpisodeFrames, expert: int) -> str:
    return f"C{expert}" if frames.experts <= 10 else INK


def _draw_pictures(axes: Any, frames: EpisodeFrames) -> Update:
    axes.set_axis_off()
    image = axes.imshow(frames.pictures[0])
    return lambda step: image.set_data(frames.pictures[step])


def _draw_messages(axes: Any, frames: EpisodeFrames) -> Update:
    """Experts on a circle; an arrow from a sender to each receiver, as wide as its weight."""
    count = min(frames.experts, MAX_EXPERTS)
    places = [(math.sin(math.tau * i / count), math.cos(math.tau * i / count)) for i in range(count)]
    axes.set(xlim=(-1.35, 1.35), ylim=(-1.35, 1.35), aspect="equal")
    axes.set_axis_off()
    axes.set_title("who hears whom", fontsize=9)
    size = 9.0 if count <= 8 else 7.0
    ends = list(zip(frames.edges.senders.tolist(), frames.edges.receivers.tolist(), strict=True))
    mean = frames.weights.mean(0)
    drawn = [k for k in mean.argsort(descending=True).tolist() if max(ends[k]) < count and mean[k] > 0][:MAX_EDGES]
    arrows = []
    for k in drawn:
        (i, j), loop = ends[k], ends[k][0] == ends[k][1]
        tail, head = _loop(places[i]) if loop else (places[i], places[j])
        arrow = matplotlib_module("patches").FancyArrowPatch(
            tail, head, arrowstyle="-|>", mutation_scale=8, color=_color(frames, i), shrinkA=size + 2, shrinkB=size + 3,
            connectionstyle=f"arc3,rad={1.6 if loop else 0.14}", zorder=1,
        )  # fmt: skip
        arrows.append(axes.add_patch(arrow))
    for i, (x, y) in enumerate(places):
        axes.plot(x, y, "o", ms=2 * size, mfc=PAPER, mec=_color(frames, i), mew=2, zorder=2)
        axes.text(x, y, str(i), ha="center", va="center", fontsize=9, color=INK, zorder=3)

    def update(step: int) -> None:
        for k, arrow in zip(drawn, arrows, strict=True):
            weight = float(frames.weights[step, k])
            arrow.set(linewidth=0.3 + 4.5 * weight, alpha=min(1.0, 0.08 + 0.92 * weight))

    return update


def _loop(place: tuple[float, float]) -> tuple[tuple[float, float], tuple[float, float]]:
    """Both ends of the arrow from an expert to itself, beside each other outside of the circle."""
    x, y = place
    return (1.16 * x - 0.1 * y, 1.16 * y + 0.1 * x), (1.16 * x + 0.1 * y, 1.16 * y - 0.1 * x)


def _draw_reads(axes: Any, frames: EpisodeFrames) -> Update:
    """A row for each expert, a column for each row of its memory; dark where it is read."""
    assert frames.reads is not None
    reads = frames.reads[:, :MAX_EXPERTS].numpy()
    used = np.flatnonzero(np.abs(reads).sum((0, 1)))
    reads = reads[..., : int(used[-1]) + 1 if len(used) else 1]
    axes.set(xlabel="row of memory", ylabel="expert")
    axes.set_title("which rows are read", fontsize=9)
    image = axes.imshow(reads[0], aspect="auto", cmap="Blues", vmin=0, vmax=max(float(reads.max()), 1e-9))
    axes.set_yticks(np.arange(0.5, reads.shape[1] - 1), minor=True)
    axes.grid(axis="y", which="minor", color=NOW, lw=0.4)
    axes.tick_params(which="minor", length=0)
    integer_ticks(axes.xaxis, axes.yaxis)
    return lambda step: image.set_data(reads[step])


def _draw_actions(axes: Any, frames: EpisodeFrames) -> Update:
    """The outputs so far as lines, and their targets, dashed; a color for the expert that makes an output."""
    values = frames.actions.reshape(frames.steps, -1)[:, :MAX_LINES].double().numpy()
    colors = [f"C{p if frames.owners is None else frames.owners[p]}" for p in range(values.shape[1])]
    axes.set(xlabel="inner step", xlim=(0.5, frames.steps + 0.5))
    axes.set_title("actions" if frames.target is None else "actions, and targets (dashed)", fontsize=9)
    shown = values if frames.target is None else np.concatenate([values, frames.target[None, :MAX_LINES].numpy()])
    low, high = float(np.nanmin(shown)), float(np.nanmax(shown))
    margin = 0.06 * (high - low or 1.0)
    axes.set_ylim(low - margin, high + margin)
    for p, target in enumerate([] if frames.target is None else frames.target[:MAX_LINES].tolist()):
        axes.axhline(target, color=colors[p], ls="--", lw=1)
    lines = [axes.plot([], [], "o-", color=color, ms=3, lw=1.2)[0] for color in colors]
    now = axes.axvline(1, color=NOW, lw=0.8, zorder=0)
    integer_ticks(axes.xaxis, *([] if frames.actions.is_floating_point() else [axes.yaxis]))

    def update(step: int) -> None:
        now.set_xdata([step + 1, step + 1])
        for line, curve in zip(lines, values.T, strict=True):
            line.set_data(range(1, step + 2), curve[: step + 1])

    return update


def _draw_probabilities(axes: Any, frames: EpisodeFrames) -> Update:
    """The probability of each option so far, and the option that was taken, as a point."""
    assert frames.probabilities is not None
    table = frames.probabilities.T.double().numpy()
    axes.set(xlabel="inner step", ylabel="action")
    axes.set_title("probabilities, and the action taken", fontsize=9)
    extent = (0.5, frames.steps + 0.5, len(table) - 0.5, -0.5)
    image = axes.imshow(table, aspect="auto", cmap="Purples", vmin=0, vmax=1, extent=extent, interpolation="nearest")
    points = axes.plot([], [], "o", color="C1", ms=4)[0]
    integer_ticks(axes.xaxis, axes.yaxis)

    def update(step: int) -> None:
        image.set_data(np.where(np.arange(frames.steps) <= step, table, np.nan))
        points.set_data(range(1, step + 2), frames.actions[: step + 1].tolist())

    return update
