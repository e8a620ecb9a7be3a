"""How well an agent does: a number for each episode."""

from functools import partial
from typing import ClassVar

import pytest
import torch
from torch.testing import assert_close

from badger import GuessingGame, evaluate, initial_carry, rollout
from toys import Crowd, Walk, game, seeded, toy_agent


def test_an_evaluation_gives_a_number_for_each_episode():
    task = game(steps=4)
    scores = evaluate(toy_agent(task), task, 7, seeded())
    assert scores.keys() == {"error", "final_error", "return"}
    assert all(score.shape == (7,) and not score.requires_grad for score in scores.values())
    assert_close(scores["return"], -scores["final_error"])


def test_a_score_is_the_mean_over_the_steps_in_which_it_was_due():
    task = game(steps=4)
    agent = toy_agent(task)
    frames, _ = rollout(agent, task, initial_carry(agent, task, 7, seeded()), seeded(), steps=4)
    assert_close(evaluate(agent, task, 7, seeded())["error"], frames.scores["error"].mean(0))


def test_an_evaluation_leaves_the_agent_as_it_was():
    agent = toy_agent(game(), core="episodic")
    before = {name: p.clone() for name, p in agent.state_dict().items()}
    evaluate(agent, game(), 3, seeded())
    assert all(torch.equal(p, before[name]) for name, p in agent.state_dict().items())
    assert all(p.grad is None for p in agent.parameters())


def test_many_episodes_are_played_in_parts():
    task = GuessingGame(2, 1, dtype=torch.float64)
    agent = toy_agent(task)
    many, first = (evaluate(agent, task, n, seeded())["error"] for n in (1027, 1024))
    assert many.shape == (1027,)
    assert torch.equal(many[:1024], first)
    assert len(many.unique()) == 1027  # all of them are new episodes


def test_no_more_experts_are_played_at_once_than_fit():
    task = GuessingGame(2, 1, dtype=torch.float64)
    agent, seen = toy_agent(task, bus="silent", topology="none"), []
    evaluate(
        agent, task, 40, seeded(), experts=5000, modify_state=lambda state: seen.append(state.y.shape[:2]) or state
    )
    assert max(batch * experts for batch, experts in seen) <= 2**16 and sum(batch for batch, _ in seen) == 40


@pytest.mark.parametrize("episodes", [2, 1026])
def test_a_change_is_made_before_the_first_step_of_every_part(episodes):
    task = GuessingGame(2, 1, dtype=torch.float64)
    agent = toy_agent(task, experts=2)
    lesion = partial(agent.remove, experts=[0, 1])
    found = evaluate(agent, task, episodes, seeded(), modify_state=lesion)["error"]
    zero = evaluate(agent, task, episodes, seeded(), policy=lambda output, legal, rng: torch.zeros_like(output))
    assert torch.equal(found, zero["error"])  # an agent without experts answers 0


def test_an_evaluation_wants_an_episode():
    with pytest.raises(ValueError, match="episodes=0, want at least 1"):
        evaluate(toy_agent(game()), game(), 0, seeded())


class Paid(Walk):
    """A walk whose every step earns 1, so that the return is the length of the episode."""

    differentiable: ClassVar[bool] = False

    def _make_step(self, state, reward):
        return super()._make_step(state, torch.ones_like(reward) * (state.t > 0))


def test_an_evaluation_counts_one_episode_where_they_end_early():
    task = Paid(steps=6, dtype=torch.float64)
    scores = evaluate(toy_agent(task), task, 50, seeded())
    assert torch.equal(scores["return"], scores["length"]) and len(scores["length"].unique()) == 6


def test_the_return_of_experts_with_rewards_of_their_own_is_their_mean():
    task = Crowd(dtype=torch.float64)
    assert evaluate(toy_agent(task), task, 5, seeded())["return"].shape == (5,)


@pytest.mark.parametrize("training", [True, False])
def test_an_evaluation_plays_in_evaluation_mode_and_gives_the_mode_back(training):
    agent, modes = toy_agent(game(), bus="gated").train(training), []
    evaluate(agent, game(), 4, seeded(3), modify_state=lambda state: modes.append(agent.training) or state)
    assert modes == [False] and agent.training is training
