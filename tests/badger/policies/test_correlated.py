"""Exploration noise that correlates in time, its exact log-probability, and its state in rollouts and checkpoints."""

import copy
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from badger import A2C, PPO, Greedy, act, initial_carry, rollout
from badger.policies.correlated import CorrelatedGaussian
from badger.policies.policies import log_probability
from tasks import Continuous
from toys import Steps, seeded, toy_agent

close = torch.testing.assert_close
OUTPUT = torch.tensor([0.5, -1.0, 0.2, -0.7], dtype=torch.float64)  # means, log standard deviations
FREE = Continuous(2)


@dataclass(frozen=True)
class Push(Steps):
    """Episodes of different lengths with a continuous action."""

    @property
    def action_space(self):
        return Continuous(2)

    def step(self, state, action, rng):
        return super().step(state, action[:, 0].gt(0).long(), rng)


def noise_of(policy, steps, batch):
    state, noise = policy.initial_state(torch.zeros(batch, dtype=torch.float64), seeded()), []
    for t in range(steps):
        action, state = policy(OUTPUT.expand(batch, -1), None, state, seeded(t + 1))
        noise.append((action - OUTPUT[:2]) / OUTPUT[2:].exp())
        close(noise[-1], state)
    return torch.stack(noise)


def test_noise_is_standard_normal_and_correlates_as_said():
    noise = noise_of(CorrelatedGaussian(FREE, 0.5), 3, 40_000)
    for e in noise:
        assert abs(e.mean()) < 0.02 and abs(e.var() - 1) < 0.02
    assert abs((noise[0] * noise[1]).mean() - 0.5) < 0.02 and abs((noise[0] * noise[2]).mean() - 0.25) < 0.02


def test_the_log_probability_of_a_path_is_that_of_a_multivariate_normal():
    """sum_t log p(e_t | e_{t-1}) = log N(e_1 .. e_T; 0, c^|i-j|), when e_0 is integrated out: here for T = 4."""
    rho, steps = 0.6, 4
    noise = noise_of(CorrelatedGaussian(FREE, rho), steps, 1)[:, 0, 0].numpy()
    covariance = rho ** np.abs(np.subtract.outer(np.arange(steps), np.arange(steps)))
    joint = -0.5 * (noise @ np.linalg.solve(covariance, noise) + np.linalg.slogdet(2 * np.pi * covariance)[1])
    policy, space = CorrelatedGaussian(Continuous(1), rho), Continuous(1)
    first = log_probability(torch.zeros(2).double(), torch.tensor([noise[0]]), space)
    e = torch.tensor(noise).unsqueeze(-1)
    given = policy.conditional_output(torch.zeros(steps - 1, 2).double(), e[:-1])
    close((first + log_probability(given, e[1:], space).sum()).item(), joint)


def test_without_correlation_the_distribution_is_that_of_the_output():
    given = CorrelatedGaussian(FREE, 0.0).conditional_output(OUTPUT, torch.randn(2, dtype=torch.float64))
    close(given, OUTPUT)


def test_a_value_behind_the_output_stays():
    given = CorrelatedGaussian(FREE).conditional_output(torch.cat([OUTPUT, OUTPUT[:1]]), torch.ones(2).double())
    assert given.shape == (5,) and given[-1] == OUTPUT[0]


def test_a_correlation_of_one_is_refused():
    with pytest.raises(ValueError, match=r"noise_correlation=1\.0, want 0 to below 1"):
        CorrelatedGaussian(FREE, 1.0)


def make_agent(task):
    agent = toy_agent(task)
    agent.act = act.WithCritic(act.Gaussian(agent.act)).double()
    return agent


def test_a_rollout_records_the_state_and_begins_anew_with_an_episode():
    task, policy = Push(dtype=torch.float64), CorrelatedGaussian(FREE, 0.99)
    carry = initial_carry(make_agent(task), task, 6, seeded())
    trajectory, after = rollout(make_agent(task), task, carry, seeded(), policy, steps=12)
    states = torch.stack([*trajectory.policy_states, after.policy_state])
    starts = trajectory.episode_start[1:]
    jump = (states[1:-1] - states[:-2]).abs().amax(-1)
    assert starts.any() and jump[~starts].max() < 0.8 < jump[starts].mean()  # sqrt(1 - .99^2) is .14


def test_a_policy_without_a_state_records_none():
    task = Push(dtype=torch.float64)
    agent = make_agent(task)
    trajectory, after = rollout(agent, task, initial_carry(agent, task, 2, seeded()), seeded(), Greedy(FREE), steps=3)
    assert trajectory.policy_states == [] and after.policy_state == ()


LEARNERS = {
    "ppo": lambda task: PPO(
        make_agent(task), task, batch=4, horizon=6, sequence_length=4, epochs=1, minibatches=1, noise_correlation=0.5
    ),
    "a2c": lambda task: A2C(make_agent(task), task, batch=4, horizon=6, noise_correlation=0.5),
}


def test_the_first_replay_has_the_log_probabilities_of_the_rollout():
    learner = LEARNERS["ppo"](Push(dtype=torch.float64))
    for _ in range(2):
        assert abs(float(learner.update()["approx_kl"])) < 1e-12


@pytest.mark.parametrize("name", LEARNERS)
def test_a_loaded_learner_continues_with_the_same_noise(name):
    task = Push(dtype=torch.float64)
    learner, restored = LEARNERS[name](task), LEARNERS[name](task)
    learner.update()
    restored.load_state_dict(copy.deepcopy(learner.state_dict()))
    assert torch.equal(restored.stream.carry.policy_state, learner.stream.carry.policy_state)
    for _ in range(2):
        assert float(learner.update()["loss"]) == float(restored.update()["loss"])


def test_the_sampled_policy_of_an_evaluation_is_the_one_that_is_trained():
    assert LEARNERS["a2c"](Push(dtype=torch.float64)).eval_policy == CorrelatedGaussian(FREE, 0.5)
