"""Plots: the data and labels that they show."""

import networkx as nx
import pytest
import torch

from badger import figures
from comms import Edges, make_edges
from toys import png


def test_the_width_of_an_edge_is_its_weight_in_the_delivery():
    y = torch.zeros(1, 3, 1)
    edges = make_edges(nx.DiGraph([(0, 1), (2, 1)]), 3, 1, y)
    figure = figures.message_graph(Edges(*(part[0] for part in edges[:3])), torch.tensor([0.2, 0.8]), 3)
    widths = [arrow.get_linewidth() for arrow in figure.axes[0].patches]
    assert widths == pytest.approx([0.2 + 5 * 0.2, 0.2 + 5 * 0.8])


def test_inactive_edges_are_not_plotted():
    y = torch.zeros(1, 3, 1)
    senders, receivers, weight = (part[0] for part in make_edges(nx.DiGraph([(0, 1), (2, 1)]), 3, 1, y)[:3])
    edges = Edges(senders, receivers, weight * torch.tensor([1.0, 0.0]))
    assert len(figures.message_graph(edges, torch.tensor([1.0, 0.0]), 3).axes[0].patches) == 1


def test_read_weights_are_plotted_up_to_the_last_used_slot():
    weights = torch.zeros(3, 2, 64)
    weights[1, 0, 4] = 1.0
    panels = figures.plot_read_weights(weights).axes
    assert [panel.images[0].get_array().shape for panel in panels] == [(3, 5)] * 2
    png(figures.plot_read_weights(torch.zeros(3, 2, 64)))


def test_guesses_are_plotted_with_their_targets():
    action = torch.tensor([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]])
    lines = figures.plot_guesses(action, torch.tensor([0.7, -0.8])).axes[0].lines
    assert [list(line.get_ydata()) for line in lines] == [
        pytest.approx(y) for y in ([0.1, 0.3, 0.5], [0.7, 0.7], [0.2, 0.4, 0.6], [-0.8, -0.8])
    ]


def test_learning_curves_are_logarithmic_with_their_references():
    curves = {"one": [([1, 2, 3], [1.0, 0.5, 0.1]), ([1, 2], [0.9, 0.6])], "other": [([1, 2], [1.0, 0.9])]}
    figure = figures.learning_curves(curves, {"chance": 1.0, "oracle": 0.0}, "error")
    axes = figure.axes[0]
    assert axes.get_yscale() == "log" and axes.get_ylabel() == "error"
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["one", "other"]
    assert [text.get_text().strip() for text in axes.texts] == ["chance 1"]  # 0 is not on a logarithmic axis
    png(figure)


def test_a_logarithmic_axis_contains_all_references_and_a_limited_number_of_decades():
    falling = [([1, 2, 3], [0.5, 1e-3, 1e-28])]
    axes = figures.learning_curves({"one": falling}, {"chance": 0.9}, "error").axes[0]
    low, high = axes.get_ylim()
    assert 1e-6 < low < 1e-5 and high > 0.9


def test_labels_of_close_reference_lines_do_not_overlap():
    figure = figures.learning_curves({"one": [([1, 2], [1.0, 0.1])]}, {"chance": 0.97, "guess": 0.96}, "error")
    figure.draw_without_rendering()
    chance, guess = sorted((text.get_window_extent() for text in figure.axes[0].texts), key=lambda box: -box.y0)
    assert chance.y0 >= guess.y1


def test_labels_are_at_reference_lines_beyond_the_curves():
    figure = figures.learning_curves({"one": [([1, 2], [-0.2, 0.5])]}, {"chance": -1.0, "oracle": 3.0}, "return")
    figure.draw_without_rendering()
    axes = figure.axes[0]
    for text, value in zip(axes.texts, [-1.0, 3.0], strict=True):
        height = axes.transData.transform((0, value))[1]
        assert text.get_transform().transform(text.get_position())[1] == pytest.approx(height)


def test_learning_curves_below_zero_are_linear():
    assert figures.learning_curves({"a": [([1, 2], [-1.0, 0.5])]}, {}, "return").axes[0].get_yscale() == "linear"
