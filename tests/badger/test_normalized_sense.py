"""Normalized observations: by their own moments, which only a learner changes, and with which actions are replayed."""

import copy

import pytest
import torch

from badger import A2C, BPTT, DRQN, PPO, GuessingGame, evaluate, generator
from badger.learners.population import Population
from badger.normalized_sense import Normalized, update_obs_moments
from badger.rollouts.recording import record, replay
from badger.rollouts.trajectory import detach_carry
from badger.sense import Broadcast
from tasks import PreviousActionReward
from toy_learners import REPEAT, STEPS, agent_with_critic
from toys import seeded, toy_agent

close = torch.testing.assert_close
TINY = {"batch": 4, "horizon": 5}
LEARNERS = {
    "ppo": lambda agent: PPO(agent, STEPS, **TINY, sequence_length=3, minibatches=2, epochs=2, normalize_reward=True),
    "a2c": lambda agent: A2C(agent, STEPS, **TINY, normalize_reward=True),
    "drqn": lambda agent: DRQN(agent, STEPS, **TINY, gradient_steps=1, prefill=2, normalize_reward=True),
}


def normalized(agent, task, numeric=None):
    agent.sense = Normalized(agent.sense, task.obs_size, numeric=numeric).to(next(agent.parameters()))
    return agent


def make_learner(name, seed=0):
    agent = toy_agent(STEPS, seed=seed) if name == "drqn" else agent_with_critic(STEPS, seed=seed)
    return LEARNERS[name](normalized(agent, STEPS))


def test_observations_are_normalized_and_clipped():
    sense = Normalized(Broadcast(2), 2, clip=3.0)
    obs = torch.randn(500, 4, 2, generator=seeded()) * torch.tensor([3.0, 0.1]) + torch.tensor([50.0, -1.0])
    sense.moments.update(obs, torch.ones(500, 4, dtype=torch.bool))
    seen = sense(obs.flatten(0, 1), 1, 1).squeeze(1)
    close(seen.std(0), torch.ones(2), rtol=0.02, atol=0)
    assert seen.abs().max() <= 3.0 and sense(torch.full((1, 2), 1e6), 1, 1).tolist() == [[[3.0, 3.0]]]


def test_before_the_first_update_observations_are_as_they_are():
    obs = torch.randn(4, 2, generator=seeded())
    close(Normalized(Broadcast(2), 2)(obs, 3, 1), Broadcast(2)(obs, 3, 1))


def test_codes_stay_as_they_are():
    task = PreviousActionReward(REPEAT)
    assert task.numeric_obs == (True,) * REPEAT.obs_size + (False,) * 3 + (True, False)
    sense = Normalized(Broadcast(2), 2, numeric=(True, False))
    sense.moments.update(torch.tensor([[0.0, 0.0], [2.0, 1.0]]), torch.ones(2, dtype=torch.bool))
    assert sense(torch.tensor([[2.0, 1.0]]), 1, 1).tolist() == [[[1.0, 1.0]]]


def test_another_number_of_flags_is_refused():
    with pytest.raises(ValueError, match="numeric has 1 values, want one for each of obs_size=2 numbers"):
        Normalized(Broadcast(2), 2, numeric=(True,))


@pytest.mark.parametrize("name", LEARNERS)
def test_an_update_learns_the_moments_of_its_observations(name):
    learner = make_learner(name)
    learner.update()
    moments = learner.agent.sense.moments
    assert moments.count >= 4 * 5 and not torch.equal(moments.var, torch.ones_like(moments.var))
    assert learner.reward_scaling.moments.count > 0


@pytest.mark.parametrize("name", LEARNERS)
def test_metrics_have_the_statistics_of_the_normalizers(name):
    learner = make_learner(name)
    learner.update()
    moments = copy.deepcopy(learner.agent.sense.moments)  # those that the next update plays with
    metrics = learner.update()
    close(metrics["normalizer/obs_mean"], moments.mean.mean())
    close(metrics["normalizer/obs_std"], moments.std.mean())
    close(metrics["normalizer/return_std"], learner.reward_scaling.moments.std[0])


def test_replayed_log_probabilities_are_those_of_the_rollout():
    learner = make_learner("ppo")
    learner.update()
    carry = detach_carry(learner.stream.carry)
    trajectory, recording, _ = record(learner.agent, STEPS, carry, seeded(), learner.rollout_policy, steps=5)
    close(replay(learner.agent, recording)[0], trajectory.output)
    learner.epochs, learner.minibatches, learner.sequence_length = 1, 1, 5
    assert abs(learner.update()["approx_kl"]) < 1e-12  # the first gradient step: moments are those of the rollout


def test_evaluation_changes_no_moments():
    learner = make_learner("ppo")
    learner.update()
    before = learner.agent.sense.moments.state_dict()
    before = {name: value.clone() for name, value in before.items()}
    evaluate(learner.agent, STEPS, 4, seeded(), learner.eval_policy)
    close(learner.agent.sense.moments.state_dict(), before, rtol=0, atol=0)


@pytest.mark.parametrize("name", LEARNERS)
def test_a_loaded_learner_continues_exactly(name):
    learner, restored = make_learner(name), make_learner(name, seed=1)
    learner.update()
    restored.load_state_dict(copy.deepcopy(learner.state_dict()))
    for _ in range(2):
        assert float(learner.update()["loss"]) == float(restored.update()["loss"])


def test_reported_returns_are_those_of_the_environment():
    scaled, plain = (PPO(agent_with_critic(STEPS), STEPS, **TINY, normalize_reward=on) for on in (True, False))
    assert torch.equal(scaled.update()["return"], plain.update()["return"])


def test_every_member_of_a_population_has_its_own_moments():
    task = GuessingGame(4, 2, dtype=torch.float64)

    def member(seed):
        return BPTT(normalized(toy_agent(task, seed=seed), task), task, batch=3, seed=seed)

    alone, population = member(1), Population([member(0), member(1)])
    for _ in range(2):
        alone.update()
        population.update()
    first, second = (one.agent.sense.moments for one in population.members)
    assert first.count == second.count == 2 * 3 * task.steps and not torch.equal(first.mean, second.mean)
    close(second.count, alone.agent.sense.moments.count)


def test_absent_agents_do_not_count():
    agent = normalized(toy_agent(STEPS), STEPS)
    obs = torch.randn(3, 2, 4, STEPS.obs_size, dtype=torch.float64, generator=generator(0, "obs"))
    present = [torch.tensor([[True, False, False, True]] * 2)] * 3
    update_obs_moments(agent, obs, present)
    assert agent.sense.moments.count == 3 * 2 * 2
    close(agent.sense.moments.mean, obs[:, :, [0, 3]].mean((0, 1, 2)))
