"""The number of evaluation episodes by default."""

import pytest

from badger import GuessingGame, SequentialMNIST
from badger.evaluation.batches import default_episodes


@pytest.mark.parametrize(
    "env_steps, episodes", [(0, 10), (9_999, 10), (20_000, 20), (20_999, 20), (10**5, 100), (10**9, 100)]
)
def test_the_default_episodes_fit_into_a_tenth_of_the_trained_steps(env_steps, episodes):
    assert default_episodes(GuessingGame(dims=1, steps=100), env_steps) == episodes


def test_all_episodes_of_a_finite_task_are_the_default(tiny_data):
    assert default_episodes(SequentialMNIST(), 10**9) is None
