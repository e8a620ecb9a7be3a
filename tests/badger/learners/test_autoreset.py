"""Discount and bootstrap at an end by hand, for each way in which worlds of Gymnasium are reset."""

from functools import partial

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from torch.testing import assert_close

import toy_zoo
from badger import A2C, PPO
from badger.learners.returns import lambda_returns
from tasks import Gymnasium, PettingZoo
from toy_learners import agent_with_critic
from toys import seeded

GAMMA, VALUE, STEPS = 0.5, 8.0, 8  # discount, V of an observation t is 8 t, steps of a rollout: two episodes of 3
BY_HAND = {
    True: [1 + (2 + 3 / 2) / 2, 2 + 3 / 2, 3.0],  # terminated after three steps, which are rewarded with 1, 2 and 3
    False: [1 + (2 + (3 + 24 / 2) / 2) / 2, 2 + (3 + 24 / 2) / 2, 3 + 24 / 2],  # truncated: V of observation 3 is 24
}


class Clock(gymnasium.Env):
    """Observes the step t of its episode, and is rewarded with t + 1; ends after three steps."""

    observation_space, action_space = Box(0, 9, (1,), np.float32), Discrete(2)

    def __init__(self, terminates):
        self.terminates = terminates

    def reset(self, *, seed=None, options=None):
        self.t = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.t += 1
        over = self.t == 3
        return np.full(1, self.t, np.float32), float(self.t), over and self.terminates, over and not self.terminates, {}


def resets_itself(terminates):
    return gymnasium.wrappers.Autoreset(Clock(terminates))


def played(mode, terminates):
    """Rewards, values of the observations that steps led to, ends, and which steps are part of an episode."""
    vector, steps, over = SyncVectorEnv([partial(Clock, terminates)], autoreset_mode=mode), [], False
    vector.reset()
    for _ in range(STEPS):
        if mode == AutoresetMode.DISABLED and over:
            vector.reset(options={"reset_mask": np.array([True])})
        is_reset = mode == AutoresetMode.NEXT_STEP and over
        obs, reward, terminated, truncated, info = vector.step(np.zeros(1, int))
        over = bool(terminated[0] or truncated[0])
        led_to = info["final_obs"][0] if mode == AutoresetMode.SAME_STEP and over else obs[0]
        steps.append((reward[0], VALUE * led_to[0], terminated[0], truncated[0], not is_reset))
    reward, value_next, *flags = (torch.tensor(np.array(part)) for part in zip(*steps, strict=True))
    return reward, value_next.double(), *flags


@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize("terminates", [True, False])
def test_returns_of_each_autoreset_mode_are_those_by_hand(mode, terminates):
    reward, value_next, terminated, truncated, valid = played(mode, terminates)
    return_ = lambda_returns(reward, value_next, terminated, truncated, gamma=GAMMA)
    assert_close(return_[valid][:6].tolist(), BY_HAND[terminates] * 2)


class Valued:
    """Stands for the agent's forward: the value of an observation t is 8 t."""

    def __call__(self, obs, state, rng=None):
        return torch.cat([torch.zeros(*obs.shape[:-1], 2).to(obs), VALUE * obs], -1), state


@pytest.mark.parametrize("world", [Clock, resets_itself])
@pytest.mark.parametrize("terminates", [True, False])
@pytest.mark.parametrize("sequence_length", [8, 3])
def test_ppo_learns_the_returns_by_hand(world, terminates, sequence_length):
    task = Gymnasium(partial(world, terminates), steps=9, dtype=torch.float64)
    learner = PPO(
        agent_with_critic(task),
        task,
        batch=2,
        horizon=STEPS,
        sequence_length=sequence_length,
        minibatches=1,
        gamma=GAMMA,
        lam=1.0,
    )
    learner.agent.forward = Valued()
    trajectory, batch, _ = learner._collect(learner._open_stream(seeded()).carry, seeded())
    wanted = torch.tensor(BY_HAND[terminates] * 2).double()
    assert trajectory.valid[:, 0].tolist() == [True, True, True, False] * 2
    pieces = batch.return_.split(2, 1), batch.mask.split(2, 1)  # two rows of each sequence, side by side
    assert_close(torch.cat([part[mask].view(-1, 2)[:, 0] for part, mask in zip(*pieces, strict=True)]), wanted)


@pytest.mark.parametrize("world", [Clock, resets_itself])
@pytest.mark.parametrize("terminates", [True, False])
def test_a2c_learns_the_returns_by_hand(world, terminates, monkeypatch):
    task, learned = Gymnasium(partial(world, terminates), steps=9, dtype=torch.float64), []
    learner = A2C(agent_with_critic(task), task, batch=2, horizon=STEPS, gamma=GAMMA)
    terms = learner._loss_terms
    monkeypatch.setattr(learner, "_loss_terms", lambda *args: learned.append(args[1:]) or terms(*args))
    monkeypatch.setattr(learner.agent, "forward", Valued(), raising=False)
    monkeypatch.setattr(torch.Tensor, "backward", lambda self: None)  # the values have no parameters
    stream = learner._open_stream(seeded())
    trajectory, carry = learner._collect(stream.carry, seeded())
    learner._backward(trajectory, trajectory.active, learner._bootstrap_value(carry, seeded()))
    return_, mask = learned[0]
    assert_close(return_[mask].view(-1, 2)[:, 0], torch.tensor(BY_HAND[terminates] * 2).double())


class EndsBothWays(Clock):
    """Its last step is terminated, and the time limit is reached in it."""

    def step(self, action):
        obs, reward, terminated, _, info = super().step(action)
        return obs, reward, terminated, terminated, info


def test_an_episode_that_terminates_at_its_time_limit_has_no_bootstrap():
    task = Gymnasium(partial(EndsBothWays, True), steps=3, dtype=torch.float64)
    learner = PPO(agent_with_critic(task), task, batch=1, horizon=4, minibatches=1, gamma=GAMMA, lam=1.0)
    learner.agent.forward = Valued()
    _, batch, _ = learner._collect(learner._open_stream(seeded()).carry, seeded())
    assert_close(batch.return_[batch.mask].tolist(), BY_HAND[True])


class Partners(toy_zoo.ParallelEnv):
    """Two agents observe and are rewarded as by Clock; one terminates in step 2, the other is truncated in step 3."""

    metadata = {"name": "partners_v0"}  # noqa: RUF012
    render_mode = None
    possible_agents = ["dies_0", "cut_0"]  # noqa: RUF012
    ends = (("dies_0", 2), ("cut_0", 3))

    def observation_space(self, agent):
        return Box(0, 9, (1,))

    def action_space(self, agent):
        return Discrete(2)

    def reset(self, seed=None, options=None):
        self.t, self.agents = 0, self.possible_agents[:]
        return self.seen(self.agents)

    def seen(self, names):
        return {name: np.full(1, self.t, np.float32) for name in names}, {name: {} for name in names}

    def step(self, actions):
        self.t += 1
        died, cut = ({name: name == who and self.t == end for name in actions} for who, end in self.ends)
        self.agents = [name for name in actions if not died[name] and not cut[name]]
        obs, infos = self.seen(actions)
        return obs, {name: float(self.t) for name in actions}, died, cut, infos


def test_only_the_agent_that_is_truncated_bootstraps_from_its_final_observation():
    task = PettingZoo(env=Partners, dtype=torch.float64)
    options = {"batch": 1, "horizon": 4, "minibatches": 1, "gamma": GAMMA, "lam": 1.0}
    learner = PPO(agent_with_critic(task), task, **options)
    learner.agent.forward = Valued()
    _, batch, _ = learner._collect(learner._open_stream(seeded()).carry, seeded())
    dies, cut = (batch.return_[..., p][batch.mask[..., p]].tolist() for p in range(2))
    assert dies == [1 + 2 / 2, 2.0] and cut == BY_HAND[False]
