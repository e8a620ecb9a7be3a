"""What an agent that diverged tells of its memories."""

import re
from dataclasses import dataclass

import pytest
import torch

from badger import Diverged, GuessingGame, build_run, train
from badger.evaluation.divergence import diagnose_divergence
from toys import seeded, toy_agent

GAME = GuessingGame(4, 2, dtype=torch.float64)


@dataclass(frozen=True)
class Poisoned(GuessingGame):
    """A game whose third answer is not finite."""

    def step(self, state, action, rng):
        state, step = super().step(state, action, rng)
        return state, step._replace(obs=torch.where(state.t.view(-1, 1) == 2, torch.inf, step.obs))


def test_a_sound_memory_is_described_at_the_end_of_its_episodes():
    told = diagnose_divergence(toy_agent(GAME, core="episodic"), GAME, seeded())
    assert told.startswith("the memory at inner step 4 of 4 of episodes played now: ")
    assert re.search(r"slots used 3(\D|$)", told)  # the last row waits to be written


def test_the_first_step_at_which_a_memory_is_not_finite_is_named():
    told = diagnose_divergence(toy_agent(GAME, core="episodic"), Poisoned(4, 2, dtype=torch.float64), seeded())
    assert told.startswith("the memory at inner step 3 of 4 ")
    assert re.search(r" (nan|inf)\b", told)


def test_a_core_without_a_memory_has_nothing_to_tell():
    assert diagnose_divergence(toy_agent(GAME, core="gru"), GAME, seeded()) == ""


def test_an_agent_that_learns_by_reward_plays_as_it_does():
    run = build_run("maze", **{"core.hidden_size": 4, "core.width": 3, "core.heads": 1, "batch": 2})
    with torch.no_grad():
        run.learner.agent.core.core.rate.weight.fill_(torch.nan)
    with pytest.raises(Diverged, match=r"outer step 1 is not finite.*memory at inner step 1 of 250 .*rate nan"):
        train(run, 1)
