"""Diagnosis of diverged agents."""

import re
from dataclasses import dataclass

import pytest
import torch

from badger import GuessingGame, build_run, train
from badger.errors import Diverged
from badger.evaluation.divergence import diagnose_divergence, divergence_advice
from toys import seeded, toy_agent

GAME = GuessingGame(4, 2, dtype=torch.float64)


@dataclass(frozen=True)
class Poisoned(GuessingGame):
    """A game whose third observation is not finite."""

    def step(self, state, action, rng):
        state, step = super().step(state, action, rng)
        return state, step._replace(obs=torch.where(state.t.view(-1, 1) == 2, torch.inf, step.obs))


def test_a_finite_memory_is_described_at_the_last_step():
    text = diagnose_divergence(toy_agent(GAME, core="episodic"), GAME, seeded())
    assert text.startswith("the memory at inner step 4 of 4, in new episodes: ")
    assert re.search(r"slots used 3(\D|$)", text)  # the last row is written in the next step


def test_the_first_step_at_which_a_memory_is_not_finite_is_named():
    text = diagnose_divergence(toy_agent(GAME, core="episodic"), Poisoned(4, 2, dtype=torch.float64), seeded())
    assert text.startswith("the memory at inner step 3 of 4, ")
    assert re.search(r" (nan|inf)\b", text)


def test_a_core_without_metrics_has_no_diagnosis():
    assert diagnose_divergence(toy_agent(GAME, core="gru"), GAME, seeded()) == ""


@pytest.mark.parametrize(
    ("learner", "remedy"), [("ppo", "--learner.reward-scale"), ("drqn", "a factor in the environment")]
)
def test_rewards_that_overflow_are_named_as_the_cause(learner, remedy):
    sizes = {"steps": 6, "batch": 4, "outer_steps": 2, "core.hidden_size": 4}
    run = build_run("gymnasium", env="toy_worlds:huge_rewards", learner=learner, **sizes, device="cpu")
    with pytest.raises(Diverged, match=rf"The rewards are the cause: a return of .*, by {remedy}\.$"):
        train(run, 1, quiet=True)


def test_a_learning_rate_is_the_cause_where_rewards_are_small():
    assert "lower learning rate" in divergence_advice({"return": -3.0, "loss": float("nan")}, object())
    assert "lower learning rate" in divergence_advice({"return": float("nan")}, object())


@pytest.mark.parametrize("std", [torch.inf, torch.nan])
def test_observations_that_overflow_are_named(std):
    text = divergence_advice({"return": 1.0, "normalizer/obs_mean": 2e28, "normalizer/obs_std": std}, object())
    assert text.startswith("The observations are the cause") and "--no-normalize-obs" in text


def test_a_diverged_actor_critic_is_diagnosed_with_its_policy():
    run = build_run("maze", **{"core.hidden_size": 4, "core.width": 3, "core.heads": 1, "batch": 2})
    with torch.no_grad():
        run.learner.agent.core.core.rate.weight.fill_(torch.nan)
    with pytest.raises(Diverged, match=r"outer step 1 is not finite.*memory at inner step 1 of 250, .*rate nan"):
        train(run, 1)
