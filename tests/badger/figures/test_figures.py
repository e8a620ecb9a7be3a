"""Pictures of agents: what is drawn of what they are given."""

import networkx as nx
import pytest
import torch

from badger import figures
from comms import Edges, make_edges
from toys import png


def test_the_width_of_an_edge_is_the_share_that_is_heard():
    y = torch.zeros(1, 3, 1)
    edges = make_edges(nx.DiGraph([(0, 1), (2, 1)]), 3, 1, y)
    drawn = figures.message_graph(Edges(*(part[0] for part in edges[:3])), torch.tensor([0.2, 0.8]), 3)
    widths = [arrow.get_linewidth() for arrow in drawn.axes[0].patches]
    assert widths == pytest.approx([0.2 + 5 * 0.2, 0.2 + 5 * 0.8])


def test_dead_edges_are_not_drawn():
    y = torch.zeros(1, 3, 1)
    senders, receivers, weight = (part[0] for part in make_edges(nx.DiGraph([(0, 1), (2, 1)]), 3, 1, y)[:3])
    edges = Edges(senders, receivers, weight * torch.tensor([1.0, 0.0]))
    assert len(figures.message_graph(edges, torch.tensor([1.0, 0.0]), 3).axes[0].patches) == 1


def test_reads_are_drawn_up_to_the_last_slot_used():
    weights = torch.zeros(3, 2, 64)
    weights[1, 0, 4] = 1.0
    panels = figures.plot_read_weights(weights).axes
    assert [panel.images[0].get_array().shape for panel in panels] == [(3, 5)] * 2
    png(figures.plot_read_weights(torch.zeros(3, 2, 64)))


def test_guesses_are_drawn_beside_their_targets():
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
    assert [text.get_text().strip() for text in axes.texts] == ["chance 1"]  # 0 has no place on a logarithmic axis
    png(figure)


def test_a_logarithmic_axis_has_room_for_all_that_is_known_and_ends_below_what_errors_can_tell():
    falling = [([1, 2, 3], [0.5, 1e-3, 1e-28])]
    axes = figures.learning_curves({"one": falling}, {"chance": 0.9}, "error").axes[0]
    low, high = axes.get_ylim()
    assert 1e-6 < low < 1e-5 and high > 0.9


def test_names_of_lines_that_are_near_each_other_stand_apart():
    figure = figures.learning_curves({"one": [([1, 2], [1.0, 0.1])]}, {"chance": 0.97, "guess": 0.96}, "error")
    figure.draw_without_rendering()
    chance, guess = sorted((text.get_window_extent() for text in figure.axes[0].texts), key=lambda box: -box.y0)
    assert chance.y0 >= guess.y1


def test_names_stand_at_their_lines_where_these_are_beyond_what_was_learnt():
    figure = figures.learning_curves({"one": [([1, 2], [-0.2, 0.5])]}, {"chance": -1.0, "oracle": 3.0}, "return")
    figure.draw_without_rendering()
    axes = figure.axes[0]
    for text, value in zip(axes.texts, [-1.0, 3.0], strict=True):
        height = axes.transData.transform((0, value))[1]
        assert text.get_transform().transform(text.get_position())[1] == pytest.approx(height)


def test_learning_curves_below_zero_are_linear():
    assert figures.learning_curves({"a": [([1, 2], [-1.0, 0.5])]}, {}, "return").axes[0].get_yscale() == "linear"
