"""Statistics of a data set, against those of whole arrays."""

import numpy as np
import pytest
import torch

from badger.datasets import EpisodeDataset
from badger.datasets.statistics import episode_statistics
from toy_episodes import SPACES, make_data, make_episodes

LENGTHS = (3, 1500, 2, 7)


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_statistics_are_those_of_the_steps_without_padding(space):
    data = make_data(LENGTHS, space=space)
    found, episodes = episode_statistics(data), data[:]
    action = episodes.action[episodes.valid]
    action = action.unsqueeze(-1) if action.dim() == 1 else action
    for i, counts in enumerate(found.choices):
        assert counts.tolist() == np.bincount(action[:, i].long(), minlength=len(counts)).tolist()
    numbers = action[:, len(found.choices) :].double().numpy()
    assert found.numbers.shape == (numbers.shape[1], 4)
    if len(found.numbers):
        wanted = np.stack([numbers.min(0), numbers.mean(0), numbers.std(0), numbers.max(0)], -1)
        assert np.allclose(found.numbers, wanted)
    assert found.terminated == 2 and torch.equal(found.returns, data.returns.double())


def test_actions_of_absent_agents_do_not_count():
    episodes = make_episodes((3, 4), agents=2)
    active = episodes.valid.unsqueeze(-1) & torch.tensor([True, False])
    data = EpisodeDataset.from_episodes(episodes._replace(info={"active": active}), SPACES["discrete"])
    found = episode_statistics(data)
    assert found.choices[0].sum() == 7
    assert torch.equal(found.returns, data.returns.double().mean(-1))
