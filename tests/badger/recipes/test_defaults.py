"""Defaults of outside worlds: one set for each learner, its budget in environment steps, and first weights."""

import pytest
import torch

from badger import build_run
from badger.recipes.initial_weights import orthogonal_

TINY = {"env": "toy_worlds:Counter", "steps": 4, "core.hidden_size": 6}


def make(recipe="gymnasium", **flags):
    return build_run(recipe, **TINY | flags)


@pytest.mark.parametrize(
    ("flags", "outer_steps"),
    [
        ({}, 98),  # 200,000 steps in outer steps of 16 x 128
        ({"total_steps": 4096}, 2),
        ({"total_steps": 4097}, 3),
        ({"total_steps": 1000, "batch": 5, "learner.horizon": 10}, 20),
        ({"learner": "a2c"}, 1563),
        ({"outer_steps": 7}, 7),
    ],
)
def test_outer_steps_follow_from_the_environment_steps(flags, outer_steps):
    assert make(**flags).outer_steps == outer_steps


def test_two_budgets_are_refused():
    with pytest.raises(ValueError, match="total_steps=100, and outer_steps=3: want one of them"):
        make(total_steps=100, outer_steps=3)


@pytest.mark.parametrize(("learner", "peak"), [("ppo", 1e-3), ("a2c", 3e-3)])
def test_the_learning_rate_falls_linearly_from_the_peak_of_the_learner(learner, peak):
    schedule = make(learner=learner, outer_steps=4).learner.updater.schedule
    assert [schedule(step) for step in range(5)] == pytest.approx([peak, 0.75 * peak, 0.5 * peak, 0.25 * peak, 0])
    assert make(learner=learner, lr=0.5).learner.updater.schedule(0) == 0.5


def test_a_short_rollout_has_fewer_minibatches():
    assert make().learner.minibatches == 8
    assert make(batch=2, **{"learner.horizon": 20}).learner.minibatches == 4
    assert make(batch=2, **{"learner.horizon": 9, "learner.minibatches": 8}).learner.minibatches == 2


def test_every_step_is_logged_and_every_tenth_saved():
    run = make()
    assert (run.log_every, run.save_every) == (1, 10)


def test_each_default_has_a_flag():
    off = {"normalize_obs": False, "orthogonal_init": False, "learner.normalize_reward": False}
    learner = make(**off, **{"learner.noise_correlation": 0.0}).learner
    assert learner.reward_scaling is None and type(learner.agent.sense).__name__ == "Scaled"


def test_first_weights_are_orthogonal_and_the_head_is_small():
    agent = make().learner.agent
    for gate in agent.core.weight_ih.chunk(3):  # (6, 4)
        torch.testing.assert_close(gate.T @ gate, torch.eye(gate.shape[1]), rtol=0, atol=1e-5)
    head = agent.act.base.linear.weight
    torch.testing.assert_close(head @ head.T, 1e-4 * torch.eye(len(head)), rtol=0, atol=1e-8)
    assert not agent.act.critic.linear.weight.any() and not agent.core.bias_ih.any()


def test_a_critic_stays_as_it_is():
    agent = make().learner.agent
    torch.nn.init.ones_(agent.act.critic.linear.weight)
    orthogonal_(agent)
    assert agent.act.critic.linear.weight.eq(1).all()


def test_a_population_is_trained_with_moments_of_its_own_members():
    learner = build_run(
        "guessing_game", seeds=2, outer_steps=1, batch=4, steps=3, normalize_obs=True, device="cpu"
    ).learner
    learner.update()
    first, second = (member.agent.sense.moments for member in learner.members)
    assert first.count == 12 and not torch.equal(first.mean, second.mean)
