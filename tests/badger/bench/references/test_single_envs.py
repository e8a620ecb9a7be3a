"""The single environments of the benchmark follow the rules of the tasks."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from badger import CardGame, CartPole, ProofOfMemory, TMaze, TMazeLong
from badger.bench.references.single_envs import SINGLE_ENVS, random_rollout
from toys import seeded

TASKS = [TMaze(3), TMazeLong(4), CartPole(30), CartPole(30, velocities=False), ProofOfMemory(), CardGame(6)]


def same_start(task, env):
    """The task's state with the values drawn by the environment's reset."""
    state, _ = task.reset(1, seeded())
    match task:
        case TMaze() | TMazeLong():
            return state._replace(cue=torch.tensor([env.cue]))
        case CartPole():
            return state._replace(motion=torch.tensor([env.motion], dtype=torch.float64))
        case ProofOfMemory():
            return state._replace(position=torch.tensor([env.position]), good_side=torch.tensor([env.good_side]))
        case CardGame():
            return state._replace(faces=torch.tensor([env.faces]))


@pytest.mark.parametrize("task", TASKS, ids=repr)
def test_a_single_environment_follows_the_rules_of_its_task(task):
    env, rng = SINGLE_ENVS[type(task)](task, np.random.default_rng(3)), np.random.default_rng(4)
    for _ in range(4):
        env.reset()
        state, done = same_start(task, env), False
        while not done:
            action = int(rng.integers(task.action_space.size))
            obs, reward, done = env.step(action)
            state, step = task.step(state, torch.tensor([action]), seeded())
            assert_close(step.obs[0].double(), torch.tensor(obs).double(), atol=1e-6, rtol=1e-6)
            assert step.reward.item() == pytest.approx(reward, abs=1e-6)
            assert bool(step.terminated | step.truncated) == done


def test_a_rollout_resets_the_environment_when_an_episode_is_done():
    task = TMaze(1)
    steps = random_rollout(SINGLE_ENVS[TMaze](task, np.random.default_rng(0)), np.array([0, 1] * 3))
    assert [done for _, _, done in steps] == [False, True] * 3
