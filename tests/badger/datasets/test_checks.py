"""Each step of a data set is checked; the first problem is named with episode and step."""

import pytest
import torch

from badger.datasets import EpisodeDataset
from badger.datasets.checks import WINDOW, slices
from badger.errors import DamagedFile
from toy_episodes import SPACES, make_data, make_episodes

SPACE = SPACES["multi_discrete"]


def damaged(field, index, value, lengths=(4, 2, 3), **options):
    episodes = make_episodes(lengths, mask=True, **{"space": SPACE, **options})
    getattr(episodes, field)[index] = value
    return episodes


@pytest.mark.parametrize("in_file", [False, True])
@pytest.mark.parametrize(
    ("field", "index", "value", "words"),
    [
        ("obs", (2, 3, 1), torch.nan, "episode 2, step 3: obs is NaN"),
        ("reward", (1, 0), torch.inf, "episode 1, step 0: reward is NaN or infinite"),
        ("terminated", (0, 1), True, "episode 0, step 1: the episode ends, and further steps follow"),
        ("terminated", (2, 2), False, "episode 2, step 2: the episode has no further step"),
        ("action", (2, 1, 1), 3, "episode 2, step 1: action is not one of MultiDiscrete"),
        ("action", (2, 1, 0), -1, "episode 2, step 1: action is not one of MultiDiscrete"),
    ],
)
def test_a_wrong_step_is_named(field, index, value, words, in_file, tmp_path):
    data = EpisodeDataset.from_episodes(damaged(field, index, value), SPACE)
    if in_file:
        data.save(tmp_path / "data.h5")
        data = EpisodeDataset.load(tmp_path / "data.h5")
    with pytest.raises(DamagedFile) as error:
        data.check()
    assert words in str(error.value)
    assert ("data.h5" if in_file else "the episodes in memory") in str(error.value)


def test_a_forbidden_action_is_named():
    episodes = damaged("action", (2, 1, 1), 2)
    episodes.action_mask[2, 1, 4] = False
    with pytest.raises(DamagedFile, match="episode 2, step 1: action is forbidden by action_mask"):
        EpisodeDataset.from_episodes(episodes, SPACE).check()


def test_a_mask_that_forbids_all_options_allows_all():
    episodes = make_episodes(space=SPACE, mask=True)
    episodes.action_mask[0, 0] = False
    EpisodeDataset.from_episodes(episodes, SPACE).check()


def test_numbers_are_checked_beside_choices():
    space = SPACES["mixed"]
    make_data(space=space).check()
    with pytest.raises(DamagedFile, match="episode 1, step 1: action is NaN"):
        EpisodeDataset.from_episodes(damaged("action", (1, 1, 3), torch.nan, space=space), space).check()


def test_an_episode_of_several_agents_ends_with_the_last_one():
    episodes = make_episodes((4,), space=SPACE, agents=2)
    episodes.terminated[0, 1:, 0] = True
    EpisodeDataset.from_episodes(episodes, SPACE).check()
    episodes.terminated[0, 2, 1] = True
    with pytest.raises(DamagedFile, match="episode 0, step 2: the episode ends"):
        EpisodeDataset.from_episodes(episodes, SPACE).check()


def test_a_problem_in_a_later_slice_of_a_long_episode_is_named():
    with pytest.raises(DamagedFile, match=f"episode 1, step {WINDOW + 7}: reward"):
        data = damaged("reward", (1, WINDOW + 7), torch.nan, lengths=(2, 3 * WINDOW + 1))
        EpisodeDataset.from_episodes(data, SPACE).check()


def test_slices_cover_each_step_once():
    length = torch.tensor([1, WINDOW, 70 * WINDOW + 1, 5])
    seen = [torch.zeros(int(n), dtype=torch.long) for n in length]
    for rows, start, steps in slices(length):
        assert len(rows) * steps <= 2**16
        for row, first in zip(rows.tolist(), start.tolist(), strict=True):
            seen[row][first : first + steps] += 1
    assert all((counts == 1).all() for counts in seen)
