"""The plain worlds of the benchmark follow the rules of the tasks that they are measured beside."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from badger import CardGame, CartPole, ProofOfMemory, TMaze, TMazeLong
from badger.bench.references.worlds import SINGLE_ENVS, random_rollout
from toys import seeded

TASKS = [TMaze(3), TMazeLong(4), CartPole(30), CartPole(30, velocities=False), ProofOfMemory(), CardGame(6)]


def opened(task, world, obs):
    """The state of a row that starts as the world did."""
    state, _ = task.reset(1, seeded())
    match task:
        case TMaze() | TMazeLong():
            return state._replace(cue=torch.tensor([world.cue]))
        case CartPole():
            return state._replace(motion=torch.tensor([world.motion], dtype=torch.float64))
        case ProofOfMemory():
            return state._replace(place=torch.tensor([world.place]), good=torch.tensor([world.good]))
        case CardGame():
            return state._replace(faces=torch.tensor([world.faces]))


@pytest.mark.parametrize("task", TASKS, ids=repr)
def test_a_plain_world_does_what_the_task_does(task):
    world, rng = SINGLE_ENVS[type(task)](task, np.random.default_rng(3)), np.random.default_rng(4)
    for _ in range(4):
        state, over = opened(task, world, world.reset()), False
        while not over:
            action = int(rng.integers(task.action.size))
            obs, reward, over = world.step(action)
            state, step = task.step(state, torch.tensor([action]), seeded())
            assert_close(step.obs[0].double(), torch.tensor(obs).double(), atol=1e-6, rtol=1e-6)
            assert step.reward.item() == pytest.approx(reward, abs=1e-6)
            assert bool(step.terminated | step.truncated) == over


def test_a_walk_opens_the_world_again_after_an_end():
    task = TMaze(1)
    told = random_rollout(SINGLE_ENVS[TMaze](task, np.random.default_rng(0)), np.array([0, 1] * 3))
    assert [over for _, _, over in told] == [False, True] * 3
