"""The diagram of an episode."""

import pytest

from badger.figures import plot_episode_diagram
from badger.figures.episode_diagram import FILL


def boxes(figure, kind):
    from matplotlib.colors import to_rgba

    return [patch for patch in figure.axes[0].patches if patch.get_facecolor() == to_rgba(FILL[kind])]


@pytest.mark.parametrize(("experts", "steps"), [(1, 1), (3, 2)])
def test_every_step_has_an_observation_an_action_and_all_experts(experts, steps):
    figure = plot_episode_diagram(experts, steps)
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts.count("observation") == texts.count("action") == steps
    assert all(texts.count(f"expert {i + 1}") == steps for i in range(experts))


def test_every_memory_has_one_row_more_in_each_step():
    figure = plot_episode_diagram(experts=2, steps=3, first_step=4, top_k=2)
    assert len(boxes(figure, "write")) == 2 * 3 and len(boxes(figure, "read")) == 2 * 3 * 2
    assert len(boxes(figure, "row")) == 2 * ((3 + 4 + 5) - 3 * 2)


def test_it_is_saved_as_an_image(tmp_path):
    plot_episode_diagram().savefig(tmp_path / "episode.png")
    assert (tmp_path / "episode.png").read_bytes().startswith(b"\x89PNG")
