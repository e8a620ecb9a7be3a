"""The size of a default evaluation."""

from functools import partial

import pytest
import torch

from badger import GuessingGame, Gymnasium, SequentialMNIST
from badger.evaluation.default_size import default_evaluation, describe_limit
from toy_worlds import Counter


@pytest.mark.parametrize(
    "env_steps, episodes", [(0, 10), (9_999, 10), (20_000, 20), (20_999, 20), (10**5, 100), (10**9, 100)]
)
def test_the_default_episodes_fit_into_a_tenth_of_the_trained_steps(env_steps, episodes):
    task = GuessingGame(dims=1, steps=100)
    assert default_evaluation(task, env_steps) == (task, episodes)


def test_all_episodes_of_a_finite_task_are_the_default(tiny_data):
    assert default_evaluation(SequentialMNIST(), 10**9)[1] is None


@pytest.mark.parametrize("env_steps, limit, episodes", [
    (0, 1000, 10), (99_999, 1000, 10), (500_000, 5000, 10), (10**6, 10_000, 10), (2 * 10**6, 10_000, 20),
])  # fmt: skip
def test_long_external_episodes_are_truncated_after_short_trainings(env_steps, limit, episodes):
    whole = Gymnasium(partial(Counter, 20_000))
    task, count = default_evaluation(whole, env_steps)
    assert (task.steps, count) == (limit, episodes) and whole.steps == 10_000


def test_truncated_episodes_are_counted():
    whole = Gymnasium(partial(Counter, 20_000))
    task, _ = default_evaluation(whole, 0)
    scores = {"episodic_length": torch.tensor([1000.0, 7, 1000]), "return": torch.zeros(3)}
    words = describe_limit(task, whole, scores)
    assert words.startswith("2 of 3 episodes were truncated after 1,000 of at most 10,000 steps")
    assert not describe_limit(whole, whole, scores)
    assert not describe_limit(task, whole, {name: values[1:2] for name, values in scores.items()})


def test_long_episodes_of_tasks_of_this_library_are_whole():
    task = GuessingGame(dims=1, steps=2000)
    assert default_evaluation(task, 0) == (task, 10)
