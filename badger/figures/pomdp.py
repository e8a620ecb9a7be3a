"""Plots of solutions of POMDPs: alpha vectors over the belief, and the graph of plans.

Shapes: K vector, S state.
"""

from collections.abc import Sequence
from typing import Any

import networkx as nx
import numpy as np

from badger.figures.curves import Figure, integer_ticks, new_figure

MAX_NAMES = 40  # states of a heat map
MAX_NODES = 40  # plans of a graph
GRID = 401  # beliefs of the maximum
WIDTH, HEIGHT = 2.1, 1.0  # between plans, in inches
BEND = 0.18  # of an arrow


def plot_alpha_vectors(
    vectors: np.ndarray, actions: Sequence[int], action_names: Sequence[str], state_names: Sequence[str]
) -> Figure:
    """Alpha vectors: for two states lines over the belief and their maximum, else a heat map of states and vectors.

    Args:
        vectors: (K, S).
        actions: (K,), the action of each vector.
        action_names: by number.
        state_names: of the S states.
    """
    if vectors.shape[1] == 2:
        return _plot_lines(vectors, actions, action_names, state_names)
    order = sorted(range(len(vectors)), key=lambda k: (actions[k], -vectors[k].sum()))
    figure = new_figure(max(4.5, 2.5 + 0.32 * min(vectors.shape[1], 40)), 5)
    axes = figure.add_subplot(xlabel="state", ylabel=f"{len(vectors)} alpha vectors, by their action")
    image = axes.imshow(vectors[order], aspect="auto", cmap="viridis", interpolation="nearest")
    figure.colorbar(image, ax=axes, label="value")
    ranked = np.array([actions[k] for k in order])
    used, first, count = np.unique(ranked, return_index=True, return_counts=True)
    axes.set_yticks(first + (count - 1) / 2, [action_names[action] for action in used], fontsize=8)
    axes.hlines(first[1:] - 0.5, -0.5, vectors.shape[1] - 0.5, color="white", lw=1)
    if vectors.shape[1] <= MAX_NAMES:
        axes.set_xticks(range(vectors.shape[1]), state_names, rotation=90, fontsize=7)
    else:
        integer_ticks(axes.xaxis)
    return figure


def _plot_lines(
    vectors: np.ndarray, actions: Sequence[int], action_names: Sequence[str], state_names: Sequence[str]
) -> Figure:
    figure = new_figure(6.4, 4)
    axes = figure.add_subplot(xlabel=f"probability of {state_names[1]}", ylabel="value", xlim=(0, 1))
    p = np.linspace(0, 1, GRID)
    values = np.outer(1 - p, vectors[:, 0]) + np.outer(p, vectors[:, 1])  # (beliefs, K)
    named: set[int] = set()
    for k, action in enumerate(actions):
        label = None if action in named else action_names[action]
        named.add(action)
        axes.plot(p, values[:, k], color=f"C{action}", lw=0.9, alpha=0.55, label=label)
    axes.plot(p, values.max(1), color="0.1", lw=2, label="maximum")
    top, bottom = values.max(), values.max(1).min()
    margin = 0.35 * (top - bottom or 1.0)
    axes.set_ylim(bottom - margin, top + margin / 3)  # lines far below the maximum are cut
    axes.legend(fontsize=8)
    return figure


def plot_policy_graph(graph: nx.DiGraph, action_names: Sequence[str]) -> Figure:
    """The plans of a policy in layers by their distance from the start, with the observations between them.

    A node has the name of its action; the start has a bold border. Observations that all lead to the same plan are
    written as "any".

    Args:
        graph: as `badger.planning.policy_graph` returns it; at most 40 nodes are drawn, the closest to the start.
        action_names: by number, for the colors.
    """
    start = next(node for node, data in graph.nodes(data=True) if data["start"])
    depths = nx.single_source_shortest_path_length(graph, start)
    nodes = sorted(depths, key=lambda node: depths[node])[:MAX_NODES]
    layers = [[node for node in nodes if depths[node] == d] for d in range(depths[nodes[-1]] + 1)]
    tallest = max(map(len, layers))
    places = {
        node: (WIDTH * x, HEIGHT * ((len(layer) - 1) / 2 - y))
        for x, layer in enumerate(layers)
        for y, node in enumerate(layer)
    }
    width, height = WIDTH * len(layers), HEIGHT * (tallest + 0.4)
    figure = new_figure(max(width, 4.0), max(height, 2.0) + 0.3)
    axes = figure.add_subplot(aspect="equal")
    axes.set(xlim=(-WIDTH / 2, width - WIDTH / 2), ylim=(-height / 2, height / 2))
    axes.set_axis_off()
    if len(nodes) < len(graph):
        axes.set_title(f"{len(nodes)} of {len(graph)} plans, the closest to the start", fontsize=9)
    for node in nodes:
        _draw_edges(axes, graph, node, places)
    for node in nodes:
        data = graph.nodes[node]
        color = f"C{list(action_names).index(data['action'])}"
        box = {"boxstyle": "round,pad=0.35", "fc": "white", "ec": color, "lw": 2.6 if data["start"] else 1.2}
        axes.text(*places[node], data["action"], ha="center", va="center", fontsize=8, bbox=box, zorder=3)
    return figure


def _draw_edges(axes: Any, graph: nx.DiGraph, node: int, places: dict[int, tuple[float, float]]) -> None:
    """An arrow to each plan that follows, curved, so that arrows of both directions stay apart."""
    successors = [(after, data["observations"]) for _, after, data in graph.out_edges(node, data=True)]
    style = {"fontsize": 6.5, "color": "0.3", "ha": "center", "va": "center", "zorder": 4}
    paper = {"boxstyle": "round,pad=0.1", "fc": "white", "ec": "none", "alpha": 0.75}
    for after, observations in successors:
        if after not in places:
            continue
        (x, y), (to_x, to_y) = places[node], places[after]
        label = "any" if len(successors) == 1 and len(observations) > 1 else ", ".join(observations)
        if after == node:
            axes.text(x, y + 0.3, f"stays: {label}", bbox=paper, **style)
            continue
        arrow = {"arrowstyle": "-|>", "color": "0.55", "lw": 0.9, "connectionstyle": f"arc3,rad={BEND}"}
        axes.annotate("", (to_x, to_y), (x, y), arrowprops=arrow | {"shrinkA": 16, "shrinkB": 16}, zorder=1)
        dx, dy, share = to_x - x, to_y - y, 0.4  # of the way; the arrow bends to its right
        side = 2 * BEND * share * (1 - share)
        axes.text(x + share * dx + side * dy, y + share * dy - side * dx, label, bbox=paper, **style)
