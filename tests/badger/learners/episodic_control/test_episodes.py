"""Whole episodes of running rollouts, and their returns."""

import numpy as np
import pytest
import torch
from torch import Tensor

from badger.learners.episodic_control.episodes import Episode, EpisodeLog
from badger.rollouts.trajectory import Trajectory


def trajectory(valid: list[int], terminated: list[int]) -> Trajectory:
    """One row whose actions count the steps, and whose rewards are these numbers."""
    count = torch.arange(len(valid)).unsqueeze(-1)
    part: dict[str, Tensor | None] = dict.fromkeys(Trajectory._fields)
    part |= {"obs": count.float().unsqueeze(-1), "action": count, "reward": count.float()}
    part |= {
        "valid": torch.tensor(valid).bool().unsqueeze(-1),
        "terminated": torch.tensor(terminated).bool().unsqueeze(-1),
    }
    return Trajectory(**part)  # type: ignore[arg-type]


def add(log: EpisodeLog, valid: list[int], terminated: list[int]) -> list[Episode]:
    steps = trajectory(valid, terminated)
    return log.add([(steps, steps.obs, steps.reward + 10)], keep_obs=True)


def test_a_terminated_episode_ends_at_once_and_without_a_value():
    (episode,) = add(EpisodeLog(1, None), [1, 1, 0, 1], [0, 1, 1, 0])
    assert (episode.reward.tolist(), episode.value.tolist()) == ([0, 1], [10, 11, 0])


def test_a_truncated_episode_has_the_value_of_the_observation_after_it():
    log = EpisodeLog(1, None)
    assert not add(log, [1, 1, 1], [0, 0, 0])
    (episode,) = add(log, [0, 1], [0, 0])
    assert (episode.action.tolist(), episode.value.tolist()) == ([0, 1, 2], [10, 11, 12, 10])
    assert episode.obs.tolist() == [[0], [1], [2]]


def test_episodes_of_a_fixed_length_end_without_a_step_after_them():
    first, second = add(EpisodeLog(1, 2), [1] * 5, [0] * 5)
    assert (first.action.tolist(), second.value.tolist()) == ([0, 1], [12, 13, 0])


def test_a_packed_log_continues_the_running_episodes():
    log, other = EpisodeLog(1, None), EpisodeLog(1, None)
    add(log, [1, 1], [0, 0])
    other.unpack(log.pack(), same_episodes=True)
    (episode,) = add(other, [1], [1])
    assert (episode.action.tolist(), other.env_steps) == ([0, 1, 0], 3)


@pytest.mark.parametrize("n", [0, 1, 2, 5])
def test_returns_equal_their_definition(n):
    reward, value, gamma = np.array([1.0, 2, 4, 8]), np.array([1.0, 3, 5, 7, 9]), 0.5
    episode = Episode(np.zeros((4, 1)), np.zeros(4, dtype=int), reward, value, np.zeros((4, 0)))
    for t, return_ in enumerate(episode.returns(gamma=gamma, n=n)):
        end = min(4, t + (n or 4))
        assert return_ == sum(gamma ** (i - t) * reward[i] for i in range(t, end)) + gamma ** (end - t) * value[end]
