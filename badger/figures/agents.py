"""Plots of an agent and its episodes: parts, memory reads, communication graph, guesses and targets.

Shapes: T inner step, E expert, K edge, D output.
"""

import math
from typing import Any

import networkx as nx
import torch
from torch import Tensor
from torch.nn.functional import pad

from badger.agent import Agent
from badger.figures.curves import Figure, integer_ticks, new_figure
from comms import Edges
from experts import EpisodicMemory, Private

MAX_PANELS = 8  # experts or outputs with their own panel or color
MAX_NODES, MAX_EDGES = 16, 120  # of a graph: networkx draws arrows slowly


def plot_read_weights(weights: Tensor) -> Figure:
    """Heat maps of the read weights, or write weights, of each expert over the steps of an episode.

    Args:
        weights: (T, E, slots) of one episode.
    """
    weights = weights[:, :MAX_PANELS]
    used = int(weights.abs().sum((0, 1)).nonzero().max().item()) + 1 if weights.any() else 1
    columns = min(4, weights.shape[1])
    rows = math.ceil(weights.shape[1] / columns)
    width = min(6.0, max(2.6, used / 32))  # inches of a panel: the slots of a large memory are told apart
    figure = new_figure(width * columns, 2.4 * rows)
    for expert in range(weights.shape[1]):
        axes = figure.add_subplot(rows, columns, expert + 1, title=f"expert {expert}")
        axes.imshow(weights[:, expert, :used].numpy(), aspect="auto", cmap="magma", vmin=0, interpolation="nearest")
        axes.set(xlabel="slot", ylabel="inner step")
        integer_ticks(axes.xaxis, axes.yaxis)
    return figure


def message_graph(edges: Edges, weights: Tensor, experts: int) -> Figure:
    """The communication graph of one episode; line widths are the weights of messages at their receivers.

    Plots the first `MAX_NODES` experts and the `MAX_EDGES` edges of highest weight.

    Args:
        edges: of one episode, each (K,).
        weights: (K,), 0 to 1, of a delivery.
        experts: E.
    """
    rows = zip(edges.senders.tolist(), edges.receivers.tolist(), weights.tolist(), edges.weight.tolist(), strict=True)
    graph = nx.DiGraph()
    graph.add_nodes_from(range(min(experts, MAX_NODES)))
    messages = sorted(
        ((weight, i, j) for i, j, weight, active in rows if active and max(i, j) < MAX_NODES), reverse=True
    )
    graph.add_edges_from((i, j, {"weight": weight}) for weight, i, j in messages[:MAX_EDGES])
    figure = new_figure(4, 4)
    axes = figure.add_subplot()
    axes.set_axis_off()
    layout = nx.circular_layout(graph)
    nx.draw_networkx_nodes(graph, layout, ax=axes, node_color="#dde7f3", edgecolors="#345", node_size=420)
    nx.draw_networkx_labels(graph, layout, ax=axes, font_size=9)
    widths = [0.2 + 5 * graph.edges[edge]["weight"] for edge in graph.edges]
    nx.draw_networkx_edges(
        graph, layout, ax=axes, width=widths, edge_color="#345", alpha=0.7, arrowsize=9,
        node_size=420, connectionstyle="arc3,rad=0.12",
    )  # fmt: skip
    return figure


def plot_guesses(action: Tensor, target: Tensor) -> Figure:
    """Guesses over the steps of an episode, and their targets as dashed lines.

    Args:
        action: the guesses (T, D).
        target: the targets (D,).
    """
    figure = new_figure(5, 3.2)
    axes = figure.add_subplot(xlabel="inner step", ylabel="guess, and target (dashed)")
    for d in range(min(MAX_PANELS, action.shape[1])):
        axes.plot(range(1, len(action) + 1), action[:, d].tolist(), color=f"C{d}", marker="o", ms=3)
        axes.axhline(target[d].item(), color=f"C{d}", ls="--", lw=1)
    integer_ticks(axes.xaxis)
    return figure


def plot_agent(agent: Agent) -> Figure:
    """Diagram of an agent: sense, experts with core and memory, communication graph, output head.

    Args:
        agent: the agent.
    """
    shared = isinstance(agent.core, EpisodicMemory)
    core = agent.core.core if isinstance(agent.core, Private) else agent.core
    name = type(core.controller if isinstance(core, EpisodicMemory) else core).__name__
    if isinstance(core, EpisodicMemory) and not shared:
        name += f"\n+ {core.slots} slots"
    n = min(agent.experts, MAX_PANELS)
    figure = new_figure(8.5, 4.2)
    axes = figure.add_subplot(xlim=(-3.2, 3.2), ylim=(-1.6, 1.6), aspect="equal")
    axes.set_axis_off()
    radius = 1.15 if n > 1 else 0.0
    positions = [(radius * math.sin(math.tau * i / n), radius * math.cos(math.tau * i / n)) for i in range(n)]
    for i, position in enumerate(positions):
        _line(axes, (-2.6, 0.0), position, "-", "#bbb")
        _line(axes, position, (2.6, 0.0), "-", "#bbb")
        _box(axes, *position, f"expert {i}\n{name}", "#dde7f3")
    edges = agent.edge_rows(agent.experts)
    for i, j in zip(edges.senders.tolist(), edges.receivers.tolist(), strict=True):
        if max(i, j) < n:
            _line(axes, positions[i], positions[j], "-|>", "#c77")
    if shared:
        _box(axes, 0, 0, f"one shared memory\n{agent.core.slots} slots", "#f6ecd2")
    _box(axes, -2.6, 0, f"sense\n{type(agent.sense).__name__}", "#e4f0e0")
    _box(axes, 2.6, 0, f"act\n{type(agent.act).__name__}", "#e4f0e0")
    suffix = f", {n} of {agent.experts} shown" if agent.experts > n else ""
    axes.set_title(f"{agent.experts} experts, one set of weights{suffix}; bus: {type(agent.bus).__name__}", fontsize=10)
    return figure


def _line(axes: Any, tail: tuple[float, float], head: tuple[float, float], style: str, color: str) -> None:
    arrow = {"arrowstyle": style, "color": color, "lw": 1, "shrinkA": 27, "shrinkB": 27, "zorder": 1}
    arrow |= {"connectionstyle": "arc3,rad=0.08"} if style != "-" else {}
    axes.annotate("", head, tail, arrowprops=arrow, zorder=1)


def _box(axes: Any, x: float, y: float, text: str, color: str) -> None:
    style = {"boxstyle": "round,pad=0.45", "facecolor": color, "edgecolor": "#345"}
    axes.text(x, y, text, ha="center", va="center", fontsize=8, bbox=style, zorder=3)


def pad_slots(weights: list[Tensor]) -> list[Tensor]:
    """Pads the read weights of a growing memory to the same number of slots.

    Args:
        weights: (..., slots), of each step.
    """
    slots = max(part.shape[-1] for part in weights)
    return [pad(part, (0, slots - part.shape[-1])) for part in weights]


def first_episode(tensors: list[Tensor]) -> Tensor:
    """Stacks the first row of the batch over steps: (T, ...), on the CPU.

    Args:
        tensors: (B, ...), of each step.
    """
    return torch.stack([tensor[0] for tensor in tensors]).detach().cpu()
