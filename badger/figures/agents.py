"""Pictures of an agent and of what happens inside it: its parts, memory reads, messages, guesses.

Shapes: T inner step, E expert, K edge, D output.
"""

import math
from typing import Any

import networkx as nx
import torch
from torch import Tensor
from torch.nn.functional import pad

from badger.agent import Agent
from badger.figures.curves import Figure, new_figure
from comms import Edges
from experts import EpisodicMemory, Private

MAX_PANELS = 8  # experts or outputs that get a panel or a colour of their own
DRAWN, MAX_EDGES = 16, 120  # experts and edges in a graph: networkx takes long to draw an arrow


def plot_read_weights(weights: Tensor) -> Figure:
    """Which slot each expert read at each inner step, (T, E, slots) of one episode."""
    weights = weights[:, :MAX_PANELS]
    used = int(weights.abs().sum((0, 1)).nonzero().max().item()) + 1 if weights.any() else 1
    columns = min(4, weights.shape[1])
    rows = math.ceil(weights.shape[1] / columns)
    figure = new_figure(2.6 * columns, 2.4 * rows)
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
    graph.add_edges_from((i, j, {"share": share}) for share, i, j in heard[:MAX_EDGES])
    figure = new_figure(4, 4)
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


def plot_guesses(action: Tensor, target: Tensor) -> Figure:
    """Guesses (T, D) of one episode, and the targets (D,) that they should approach."""
    figure = new_figure(5, 3.2)
    axes = figure.add_subplot(xlabel="inner step", ylabel="guess, and target (dashed)")
    for d in range(min(MAX_PANELS, action.shape[1])):
        axes.plot(range(1, len(action) + 1), action[:, d].tolist(), color=f"C{d}", marker="o", ms=3)
        axes.axhline(target[d].item(), color=f"C{d}", ls="--", lw=1)
    return figure


def plot_agent(agent: Agent) -> Figure:
    """An agent: its experts with their core and memory, the bus between them, what they sense and how they act."""
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
    places = [(radius * math.sin(math.tau * i / n), radius * math.cos(math.tau * i / n)) for i in range(n)]
    for i, place in enumerate(places):
        _line(axes, (-2.6, 0.0), place, "-", "#bbb")
        _line(axes, place, (2.6, 0.0), "-", "#bbb")
        _box(axes, *place, f"expert {i}\n{name}", "#dde7f3")
    edges = agent._edge_list(agent.experts)
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


def pad_slots(weights: list[Tensor]) -> list[Tensor]:
    """Read weights (..., slots) of a memory that grows, each with as many slots as the widest."""
    most = max(part.shape[-1] for part in weights)
    return [pad(part, (0, most - part.shape[-1])) for part in weights]


def first_episode(tensors: list[Tensor]) -> Tensor:
    """Episode 0 of what was watched at T steps: (T, ...)."""
    return torch.stack([tensor[0] for tensor in tensors]).detach().cpu()
