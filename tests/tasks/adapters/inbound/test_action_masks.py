"""Action masks of environments, by each convention: in play, in training and in evaluation."""

import numpy as np
import pytest
import torch

import toy_worlds
import toy_zoo
from badger import build_run, evaluate
from tasks import EnvError, Gymnasium, PettingZoo
from toys import seeded

SIZES = {"batch": 3, "steps": 9, "core.hidden_size": 6, "outer_steps": 2, "device": "cpu", "learner.horizon": 6}
WORLDS = {
    "info": ("gymnasium", "toy_worlds:Masked"),
    "observation": ("gymnasium", "toy_worlds:masked_observation"),
    "agents": ("pettingzoo", "toy_zoo:Cards"),
}


@pytest.mark.parametrize("env", [toy_worlds.Masked, toy_worlds.masked_observation])
def test_a_mask_is_that_of_the_environment_and_no_part_of_the_observation(env):
    task = Gymnasium(env, steps=9)
    state, step = task.reset(4, seeded())
    for _ in range(5):
        assert task.obs_size == 5 and torch.equal(step.action_mask, step.obs > 0)
        state, step = task.step(state, step.action_mask.int().argmax(-1), seeded())


@pytest.mark.parametrize("learner", ["ppo", "a2c"])
@pytest.mark.parametrize("world", WORLDS)
def test_no_illegal_action_is_drawn_in_training_or_evaluation(world, learner):
    recipe, env = WORLDS[world]
    learner = build_run(recipe, env=env, learner=learner, **SIZES).learner
    for _ in range(2):
        assert learner.update()["finite"]
    evaluate(learner.agent, learner.task, 5, seeded(), learner.eval_policy)


@pytest.mark.parametrize("world", WORLDS)
def test_replayed_log_probabilities_use_the_recorded_mask(world):
    recipe, env = WORLDS[world]
    learner = build_run(recipe, env=env, **SIZES, **{"learner.epochs": 1, "learner.minibatches": 1}).learner
    metrics = learner.update()
    assert abs(float(metrics["approx_kl"])) < 1e-6 and float(metrics["clip_fraction"]) == 0


def test_a_mask_that_is_missing_is_named():
    task = Gymnasium(toy_worlds.Forgetful, steps=9)
    state, step = task.reset(2, seeded())
    with pytest.raises(EnvError, match=r"row 0 \(seed \d+, step 2\) returned no action_mask in its info"):
        for _ in range(2):
            state, step = task.step(state, step.action_mask.int().argmax(-1), seeded())


def test_a_mask_without_any_legal_action_allows_all():
    class Stuck(toy_worlds.Masked):
        def observe(self):
            obs, info = super().observe()
            return obs, {"action_mask": np.zeros_like(info["action_mask"])}

    assert Gymnasium(Stuck, steps=9).reset(2, seeded())[1].action_mask.all()


def test_agents_of_pettingzoo_have_masks_of_their_own():
    _, step = PettingZoo(env=toy_zoo.Cards).reset(3, seeded())
    assert step.action_mask.sum(-1).tolist() == [[2, 1]] * 3  # the second waits for its turn
