"""Pictures of agents, as matplotlib figures that the caller shows or saves. No pyplot, no global state.

Shapes: T inner step, E expert, K edge, D output.
"""

import math
from typing import Any, NamedTuple, TypeAlias

import networkx as nx
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from badger.agent import Agent
from comms import Edges, edge_list
from experts import EpisodicMemory, Private

Figure: TypeAlias = Any  # matplotlib.figure.Figure: matplotlib is imported only when a picture is drawn

SHOWN = 8  # experts or outputs that get a panel or a colour of their own
DRAWN, STRONGEST = 16, 120  # experts and edges in a graph: networkx takes long to draw an arrow
DECADES = 5  # of a logarithmic axis: a moving average of errors that have become 0 falls without end
APART = 0.045  # of the height of an axis, between two names of lines


def blank(width: float, height: float) -> Figure:
    """An empty one, its size in inches."""
    import matplotlib.figure

    return matplotlib.figure.Figure(figsize=(width, height), dpi=90, layout="constrained")


def learning_curves(
    curves: dict[str, list[tuple[list[int], list[float]]]], references: dict[str, float], score: str
) -> Figure:
    """A score over outer steps, with its reference lines.

    curves: name -> one (steps, values) a seed. Logarithmic where all values are above 0, of `DECADES` at most.
    """
    figure = _lines(curves, score)
    _compared(figure.axes[0], references)
    return figure


class Band(NamedTuple):
    """A line with what it may be off, each (K,)."""

    x: np.ndarray
    y: np.ndarray
    low: np.ndarray
    high: np.ndarray


def learning_bands(bands: dict[str, Band], references: dict[str, float], score: str) -> Figure:
    """`learning_curves` of several runs each, x in outer steps."""
    figure = _lines({name: [(band.x.tolist(), band.y.tolist())] for name, band in bands.items()}, score)
    for i, band in enumerate(bands.values()):
        figure.axes[0].fill_between(band.x, band.low, band.high, color=f"C{i}", alpha=0.18, lw=0)
    _compared(figure.axes[0], references)
    return figure


def _lines(curves: dict[str, list[tuple[list[int], list[float]]]], score: str) -> Figure:
    figure = blank(7, 4)
    axes = figure.add_subplot(xlabel="outer step", ylabel=score)
    for i, (name, seeds) in enumerate(curves.items()):
        for j, (steps, values) in enumerate(seeds):
            axes.plot(steps, values, color=f"C{i}", alpha=0.8, lw=1.3, label=name if j == 0 else None)
    return figure


def _compared(axes: Any, references: dict[str, float]) -> None:
    """Lines of what is known beside what was drawn, their names apart where they are near each other."""
    values = np.concatenate([line.get_ydata() for line in axes.lines] or [[]])
    if len(values) and values.min() > 0:
        axes.set_yscale("log")
        low, high = axes.dataLim.intervaly
        axes.set_ylim(max(low, high / 10**DECADES) / 1.3, max([high, *references.values()]) * 1.3)
    floor = axes.get_ylim()[0]
    shown = {line: v for line, v in references.items() if axes.get_yscale() == "linear" or v > floor}
    for value in shown.values():
        axes.axhline(value, color="0.6", lw=0.9, ls="--")
    axes.get_ylim()  # matplotlib makes room for the lines when it is asked, and not before
    place = axes.transData + axes.transAxes.inverted()
    below = -math.inf
    for line, value in sorted(shown.items(), key=lambda each: each[1]):
        below = max(place.transform((0, value))[1], below + APART)
        axes.text(1, below, f" {line} {value:.3g}", transform=axes.transAxes, fontsize=8, va="center")
    axes.legend(fontsize=8)


def performance_profiles(bands: dict[str, Band], score: str, fraction: str) -> Figure:
    """Fractions over thresholds of a score. Logarithmic where all of these are above 0."""
    figure = blank(7, 4)
    axes = figure.add_subplot(xlabel=score, ylabel=fraction, ylim=(-0.03, 1.03))
    for i, (name, band) in enumerate(bands.items()):
        axes.step(band.x, band.y, where="post", color=f"C{i}", lw=1.3, label=name)
        axes.fill_between(band.x, band.low, band.high, step="post", color=f"C{i}", alpha=0.18, lw=0)
    if all((band.x > 0).all() for band in bands.values()):
        axes.set_xscale("log")
    axes.legend(fontsize=8)
    return figure


def inner_curve(values: Tensor, name: str) -> Figure:
    """A score over the steps of an episode, (T,)."""
    figure = blank(5, 3)
    axes = figure.add_subplot(xlabel="inner step", ylabel=name)
    axes.plot(range(1, len(values) + 1), values.tolist(), marker="o", ms=3)
    axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
    return figure


def read_weights(weights: Tensor) -> Figure:
    """Which slot each expert read at each inner step, (T, E, slots) of one episode."""
    weights = weights[:, :SHOWN]
    used = int(weights.abs().sum((0, 1)).nonzero().max().item()) + 1 if weights.any() else 1
    columns = min(4, weights.shape[1])
    rows = math.ceil(weights.shape[1] / columns)
    figure = blank(2.6 * columns, 2.4 * rows)
    for expert in range(weights.shape[1]):
        axes = figure.add_subplot(rows, columns, expert + 1, title=f"expert {expert}")
        axes.imshow(weights[:, expert, :used].numpy(), aspect="auto", cmap="magma", vmin=0, interpolation="nearest")
        axes.set_xlabel("slot")
        axes.set_ylabel("inner step")
    return figure


def message_graph(edges: Edges, weights: Tensor, experts: int) -> Figure:
    """Who hears whom in one episode: the width of an edge is the share of the sender in what the receiver hears.

    Of many experts the first are drawn, and of many edges the strongest.

    edges: of one episode, each (K,). weights: (K,), 0 to 1.
    """
    rows = zip(edges.senders.tolist(), edges.receivers.tolist(), weights.tolist(), edges.weight.tolist(), strict=True)
    graph = nx.DiGraph()
    graph.add_nodes_from(range(min(experts, DRAWN)))
    heard = sorted(((share, i, j) for i, j, share, live in rows if live and max(i, j) < DRAWN), reverse=True)
    graph.add_edges_from((i, j, {"share": share}) for share, i, j in heard[:STRONGEST])
    figure = blank(4, 4)
    axes = figure.add_subplot()
    axes.set_axis_off()
    place = nx.circular_layout(graph)
    nx.draw_networkx_nodes(graph, place, ax=axes, node_color="#dde7f3", edgecolors="#345", node_size=420)
    nx.draw_networkx_labels(graph, place, ax=axes, font_size=9)
    widths = [0.2 + 5 * graph.edges[edge]["share"] for edge in graph.edges]
    nx.draw_networkx_edges(
        graph, place, ax=axes, width=widths, edge_color="#345", alpha=0.7, arrowsize=9,
        node_size=420, connectionstyle="arc3,rad=0.12",
    )  # fmt: skip
    return figure


def guesses(action: Tensor, target: Tensor) -> Figure:
    """Guesses (T, D) of one episode, and the targets (D,) that they should approach."""
    figure = blank(5, 3.2)
    axes = figure.add_subplot(xlabel="inner step", ylabel="guess, and target (dashed)")
    for d in range(min(SHOWN, action.shape[1])):
        axes.plot(range(1, len(action) + 1), action[:, d].tolist(), color=f"C{d}", marker="o", ms=3)
        axes.axhline(target[d].item(), color=f"C{d}", ls="--", lw=1)
    return figure


def agent(agent: Agent) -> Figure:
    """An agent: its experts with their core and memory, the bus between them, what they sense and how they act."""
    shared = isinstance(agent.core, EpisodicMemory)
    core = agent.core.core if isinstance(agent.core, Private) else agent.core
    name = type(core.controller if isinstance(core, EpisodicMemory) else core).__name__
    if isinstance(core, EpisodicMemory) and not shared:
        name += f"\n+ {core.slots} slots"
    n = min(agent.experts, SHOWN)
    figure = blank(8.5, 4.2)
    axes = figure.add_subplot(xlim=(-3.2, 3.2), ylim=(-1.6, 1.6), aspect="equal")
    axes.set_axis_off()
    radius = 1.15 if n > 1 else 0.0
    places = [(radius * math.sin(math.tau * i / n), radius * math.cos(math.tau * i / n)) for i in range(n)]
    for i, place in enumerate(places):
        _line(axes, (-2.6, 0.0), place, "-", "#bbb")
        _line(axes, place, (2.6, 0.0), "-", "#bbb")
        _box(axes, *place, f"expert {i}\n{name}", "#dde7f3")
    edges = edge_list(agent.topology, agent.experts)
    for i, j in zip(edges.senders.tolist(), edges.receivers.tolist(), strict=True):
        if max(i, j) < n:
            _line(axes, places[i], places[j], "-|>", "#c77")
    if shared:
        _box(axes, 0, 0, f"one shared memory\n{agent.core.slots} slots", "#f6ecd2")
    _box(axes, -2.6, 0, f"sense\n{type(agent.sense).__name__}", "#e4f0e0")
    _box(axes, 2.6, 0, f"act\n{type(agent.act).__name__}", "#e4f0e0")
    more = f", {n} of {agent.experts} shown" if agent.experts > n else ""
    axes.set_title(f"{agent.experts} experts, one set of weights{more}; bus: {type(agent.bus).__name__}", fontsize=10)
    return figure


def _line(axes: Any, tail: tuple[float, float], head: tuple[float, float], style: str, colour: str) -> None:
    arrow = {"arrowstyle": style, "color": colour, "lw": 1, "shrinkA": 27, "shrinkB": 27, "zorder": 1}
    arrow |= {"connectionstyle": "arc3,rad=0.08"} if style != "-" else {}
    axes.annotate("", head, tail, arrowprops=arrow, zorder=1)


def _box(axes: Any, x: float, y: float, text: str, colour: str) -> None:
    style = {"boxstyle": "round,pad=0.45", "facecolor": colour, "edgecolor": "#345"}
    axes.text(x, y, text, ha="center", va="center", fontsize=8, bbox=style, zorder=3)


def as_wide(weights: list[Tensor]) -> list[Tensor]:
    """Read weights (..., slots) of a memory that grows, each with as many slots as the widest."""
    most = max(part.shape[-1] for part in weights)
    return [pad(part, (0, most - part.shape[-1])) for part in weights]


def first(tensors: list[Tensor]) -> Tensor:
    """Episode 0 of what was watched at T steps: (T, ...)."""
    return torch.stack([tensor[0] for tensor in tensors]).detach().cpu()
