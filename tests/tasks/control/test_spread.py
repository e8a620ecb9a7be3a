"""Cooperative navigation: the rules by a slow reference, MPE2 where it is installed, scores and references."""

import importlib.util
import math

import numpy as np
import pytest
import torch

from badger import Spread
from tasks.control.spread_script import scripted_actions
from toys import seeded

CASES = [Spread(dtype=torch.float64), Spread(40, 5, 0.2, dtype=torch.float64), Spread(5, 1, dtype=torch.float64)]


class Reference:
    """The public rules for one episode, a force and a distance at a time.

    Discs of diameter 0.3 and mass 1; an action pushes with a force of 5; in a step of 0.1 the place moves by the old
    velocity, of which three quarters remain. Two discs repel each other by 100 times their overlap, which is softened.
    """

    def __init__(self, place, landmarks):
        self.place, self.landmarks = [np.array(p) for p in place], landmarks
        self.speed = [np.zeros(2) for _ in place]

    def distance(self, i, j):
        return math.dist(self.place[i], self.place[j])

    def step(self, actions, local_ratio):
        agents = range(len(self.place))
        forces = []
        for i in agents:
            force = 5 * np.array([(0, 0), (-1, 0), (1, 0), (0, -1), (0, 1)][actions[i]], float)
            for j in agents:
                if i != j:
                    overlap = 0.001 * np.logaddexp(0, (0.3 - self.distance(i, j)) / 0.001)
                    force += 100 * (self.place[i] - self.place[j]) / self.distance(i, j) * overlap
            forces.append(force)
        for i in agents:
            self.place[i] = self.place[i] + 0.1 * self.speed[i]
            self.speed[i] = 0.75 * self.speed[i] + 0.1 * forces[i]
        shared = -sum(min(math.dist(place, mark) for place in self.place) for mark in self.landmarks)
        own = [-sum(i != j and self.distance(i, j) < 0.3 for j in agents) for i in agents]
        return [shared * (1 - local_ratio) + one * local_ratio for one in own]

    def observations(self):
        return [self.observation(i) for i in range(len(self.place))]

    def observation(self, i):
        others = [other - self.place[i] for j, other in enumerate(self.place) if j != i]
        marks = [mark - self.place[i] for mark in self.landmarks]
        return np.concatenate([self.speed[i], self.place[i], *marks, *others, np.zeros(2 * len(others))])


def crowded(task, batch):
    """Episodes that start close together, so that agents touch."""
    state, step = task.reset(batch, seeded())
    state = state._replace(position=0.3 * state.position)
    return state, step._replace(obs=task._observe(state))


@pytest.mark.parametrize("task", CASES)
def test_the_rules_are_those_of_the_reference(task):
    state, step = crowded(task, 4)
    references = [Reference(p, m) for p, m in zip(state.position.numpy(), state.landmarks.numpy(), strict=True)]
    actions = torch.randint(5, (task.steps, 4, task.agents), generator=seeded(1))
    for action in actions:
        assert step.obs.numpy() == pytest.approx(np.array([r.observations() for r in references]), abs=1e-9)
        state, step = task.step(state, action, seeded())
        rewards = [r.step(a, task.local_ratio) for r, a in zip(references, action.tolist(), strict=True)]
        assert step.reward.numpy() == pytest.approx(np.array(rewards), abs=1e-9)
    assert step.truncated.all() and not step.terminated.any()
    assert task.agents == 1 or step.scores["collisions"].max() > 0


@pytest.mark.skipif(importlib.util.find_spec("mpe2") is None, reason="mpe2 is not installed")
def test_an_episode_equals_that_of_mpe2():
    from mpe2 import simple_spread_v3

    env, task = simple_spread_v3.parallel_env(max_cycles=25), Spread(dtype=torch.float64)
    total = 0.0
    for seed in range(3):
        obs, _ = env.reset(seed=seed)
        world, (state, _) = env.unwrapped.world, task.reset(1, seeded())
        if seed:  # agents that touch
            for agent in world.agents:
                agent.state.p_pos = agent.state.p_pos * 0.2
        places, marks = ([e.state.p_pos for e in es] for es in (world.agents, world.landmarks))
        state = state._replace(position=torch.tensor(np.array([places])), landmarks=torch.tensor(np.array([marks])))
        for t in range(25):
            action = torch.randint(5, (1, 3), generator=seeded(100 * seed + t))
            obs, rewards, _, truncated, _ = env.step(dict(zip(env.agents, action[0].tolist(), strict=True)))
            state, step = task.step(state, action, seeded())
            assert step.obs[0].numpy() == pytest.approx(np.array(list(obs.values())), abs=1e-6)
            assert step.reward[0].tolist() == pytest.approx(list(rewards.values()), abs=1e-9)
            assert step.truncated[0].tolist() == list(truncated.values())
            total += step.reward.mean().item()
    assert step.scores["episodic_return"].item() != 0 and total < 0


def test_occupied_counts_landmarks_with_an_agent_on_them():
    task = Spread(1, 2, dtype=torch.float64)
    state, _ = task.reset(1, seeded())
    marks = torch.tensor([[[0.0, 0.0], [0.9, 0.9]]], dtype=torch.float64)
    state = state._replace(landmarks=marks, position=marks + torch.tensor([[[0.05, 0.0], [0.0, 0.2]]]))
    assert task.step(state, torch.zeros(1, 2, dtype=torch.long), seeded())[1].scores["occupied"].item() == 0.5


def test_the_script_covers_the_landmarks_and_chance_does_not():
    task = Spread()
    references = task.references()["episodic_return"]
    assert references["script"] > references["nothing"] > references["chance"]
    state, _ = task.reset(100, seeded())
    for _ in range(task.steps):
        state, step = task.step(state, scripted_actions(state), seeded())
    assert step.scores["occupied"].mean() > 0.6


@pytest.mark.parametrize("action", [torch.zeros(2, 3, 5), torch.zeros(2, dtype=torch.long)])
def test_logits_and_joint_actions_are_refused(action):
    task = Spread()
    with pytest.raises(ValueError, match=r"want integers \(batch, agents\) from 0 to 4"):
        task.step(task.reset(2, seeded())[0], action, seeded())


@pytest.mark.parametrize("wrong", [{"num_agents": 0}, {"steps": 0}, {"local_ratio": 1.5}])
def test_wrong_sizes_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Spread(**wrong)
