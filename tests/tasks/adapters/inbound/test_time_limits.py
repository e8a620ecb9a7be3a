"""Time limits: the environment's own, wherever they are, those that are asked for, and none."""

from functools import partial

import gymnasium
import pytest
import torch
from gymnasium.wrappers import TimeLimit, TransformReward

import toy_worlds
import toy_zoo
from badger import build_run
from tasks import Gymnasium, PettingZoo
from toys import seeded


def wrapped(*limits):
    env = toy_worlds.Counter(1000)
    for limit in limits:
        env = TransformReward(TimeLimit(env, limit), lambda reward: reward)
    return env


@pytest.mark.parametrize(
    ("env", "steps"),
    [
        ("CartPole-v1", 500),
        (partial(gymnasium.make, "CartPole-v1", max_episode_steps=7), 7),
        (partial(wrapped, 5), 5),
        (partial(wrapped, 9, 4, 8), 4),
        (toy_worlds.Counter, 10_000),
    ],
)
def test_the_limit_of_an_environment_is_found_in_its_spec_or_any_wrapper(env, steps):
    assert Gymnasium(env).steps == steps


@pytest.mark.parametrize(("asked", "length"), [(0, 5), (3, 3), (8, 5)])
def test_an_episode_is_truncated_by_the_limit_that_comes_first(asked, length):
    task, rng = Gymnasium(partial(wrapped, 5), steps=asked), seeded()
    state, step = task.reset(2, rng)
    while not step.truncated.all():
        state, step = task.step(state, torch.zeros(2, dtype=torch.long), rng)
    assert step.scores["episodic_length"].tolist() == [length] * 2 and not step.terminated.any()


class Cycles(toy_zoo.Meadow):
    """Has the limit of PettingZoo's environments."""

    def __init__(self):
        super().__init__()
        self.max_cycles = 17


def test_agents_have_the_limit_of_their_environment_or_the_one_that_is_asked_for():
    assert [PettingZoo(env=env, steps=steps).steps for env, steps in
            [(Cycles, 0), (Cycles, 4), (toy_zoo.Turns, 0)]] == [17, 4, 10_000]  # fmt: skip


@pytest.mark.parametrize("learner", ["ppo", "a2c"])
def test_an_environment_without_a_limit_is_trained_on(learner):
    options = {"batch": 2, "core.hidden_size": 4, "outer_steps": 1, "device": "cpu", "learner.horizon": 8}
    learner = build_run("gymnasium", env="toy_worlds:Counter", learner=learner, **options).learner
    assert learner.task.steps == 10_000 and learner.update()["finite"]
