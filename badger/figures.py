"""Pictures of agents, as matplotlib figures that the caller shows or saves. No pyplot, no global state.

Shapes: T inner step, E expert, K edge, D output.
"""

import math
from typing import Any, TypeAlias

import networkx as nx
import torch
from torch import Tensor

from comms import Edges

Figure: TypeAlias = Any  # matplotlib.figure.Figure: matplotlib is imported only when a picture is drawn

SHOWN = 8  # experts or outputs that get a panel or a colour of their own
DRAWN = 40  # experts in a graph


def _figure(width: float, height: float) -> Figure:
    import matplotlib.figure

    return matplotlib.figure.Figure(figsize=(width, height), dpi=90, layout="constrained")


def learning_curves(
    curves: dict[str, list[tuple[list[int], list[float]]]], references: dict[str, float], score: str
) -> Figure:
    """A score over outer steps, with its reference lines.

    curves: name -> one (steps, values) a seed. Logarithmic where all values are above 0.
    """
    figure = _figure(7, 4)
    axes = figure.add_subplot(xlabel="outer step", ylabel=score)
    for i, (name, seeds) in enumerate(curves.items()):
        for j, (steps, values) in enumerate(seeds):
            axes.plot(steps, values, color=f"C{i}", alpha=0.8, lw=1.3, label=name if j == 0 else None)
    values = [v for seeds in curves.values() for _, curve in seeds for v in curve]
    if values and min(values) > 0:
        axes.set_yscale("log")
    floor = axes.get_ylim()[0]
    for line, value in references.items():
        if axes.get_yscale() == "linear" or value > floor:
            axes.axhline(value, color="0.6", lw=0.9, ls="--")
            axes.text(1, value, f" {line} {value:.3g}", transform=axes.get_yaxis_transform(), fontsize=8, va="center")
    axes.legend(fontsize=8)
    return figure


def inner_curve(values: Tensor, name: str) -> Figure:
    """A score over the steps of an episode, (T,)."""
    figure = _figure(5, 3)
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
    figure = _figure(2.6 * columns, 2.4 * rows)
    for expert in range(weights.shape[1]):
        axes = figure.add_subplot(rows, columns, expert + 1, title=f"expert {expert}")
        axes.imshow(weights[:, expert, :used].numpy(), aspect="auto", cmap="magma", vmin=0, interpolation="nearest")
        axes.set_xlabel("slot")
        axes.set_ylabel("inner step")
    return figure


def message_graph(edges: Edges, weights: Tensor) -> Figure:
    """Who hears whom in one episode: the width of an edge is the share of the sender in what the receiver hears.

    edges: of one episode, each (K,). weights: (K,), 0 to 1.
    """
    rows = zip(edges.senders.tolist(), edges.receivers.tolist(), weights.tolist(), edges.weight.tolist(), strict=True)
    graph = nx.DiGraph()
    last = max(edges.senders.max().item(), edges.receivers.max().item()) if edges.senders.numel() else 0
    graph.add_nodes_from(range(min(int(last) + 1, DRAWN)))
    graph.add_edges_from((i, j, {"share": share}) for i, j, share, live in rows if live and max(i, j) < DRAWN)
    figure = _figure(4, 4)
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
    figure = _figure(5, 3.2)
    axes = figure.add_subplot(xlabel="inner step", ylabel="guess, and target (dashed)")
    for d in range(min(SHOWN, action.shape[1])):
        axes.plot(range(1, len(action) + 1), action[:, d].tolist(), color=f"C{d}", marker="o", ms=3)
        axes.axhline(target[d].item(), color=f"C{d}", ls="--", lw=1)
    return figure


def agent(badger: Any) -> Figure:
    """An agent: its experts with their core and memory, the bus between them, what they sense and how they act."""
    from experts import EpisodicMemory, Private

    core = badger.core
    private = isinstance(core, Private)
    inner = core.core if private else core
    remembers = isinstance(inner, EpisodicMemory)
    name = type(inner.controller).__name__ if remembers else type(inner).__name__
    n = min(badger.experts, SHOWN)
    figure = _figure(8.5, 4.4)
    axes = figure.add_subplot(xlim=(-3.3, 3.3), ylim=(-1.75, 1.75), aspect="equal")
    axes.set_axis_off()
    places = [(1.15 * math.sin(2 * math.pi * i / n), 1.15 * math.cos(2 * math.pi * i / n)) for i in range(n)]
    if n == 1:
        places = [(0.0, 0.0)]
    edges = badger._list(badger.experts)
    for i, j in zip(edges.senders, edges.receivers, strict=True):
        if max(i, j) < n:
            axes.annotate("", places[j], places[i], arrowprops={"arrowstyle": "-|>", "color": "#c77", "shrinkA": 26, "shrinkB": 26, "lw": 1})  # noqa: E501  # fmt: skip
    for i, (x, y) in enumerate(places):
        axes.annotate("", (x, y), (-2.4, 0), arrowprops={"arrowstyle": "-", "color": "#bbb", "lw": 0.8, "shrinkB": 26})
        axes.annotate("", (2.4, 0), (x, y), arrowprops={"arrowstyle": "-", "color": "#bbb", "lw": 0.8, "shrinkA": 26})
        _box(
            axes, x, y, f"expert {i}\n{name}" + (f"\n+ {inner.slots} slots" if remembers and private else ""), "#dde7f3"
        )
    if remembers and not private:
        _box(axes, 0, 0, f"one shared memory\n{inner.slots} slots", "#f6ecd2")
    _box(axes, -2.6, 0, f"sense\n{type(badger.sense).__name__}", "#e4f0e0")
    _box(axes, 2.6, 0, f"act\n{type(badger.act).__name__}", "#e4f0e0")
    more = f", {n} of {badger.experts} shown" if badger.experts > n else ""
    title = f"{badger.experts} experts, one set of weights{more}; bus: {type(badger.bus).__name__}"
    axes.set_title(title, fontsize=10)
    return figure


def _box(axes: Any, x: float, y: float, text: str, colour: str) -> None:
    style = {"boxstyle": "round,pad=0.45", "facecolor": colour, "edgecolor": "#345"}
    axes.text(x, y, text, ha="center", va="center", fontsize=8, bbox=style, zorder=3)


def first(tensors: list[Tensor]) -> Tensor:
    """Episode 0 of what was watched at T steps: (T, ...)."""
    return torch.stack([tensor[0] for tensor in tensors]).detach().cpu()
