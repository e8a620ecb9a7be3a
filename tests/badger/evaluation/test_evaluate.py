"""Evaluation: a score for each episode."""

import io
import sys
from functools import partial
from typing import ClassVar

import pytest
import torch
from torch.testing import assert_close

from badger import Greedy, GuessingGame, Gymnasium, Sampled, evaluate, initial_carry, rollout
from toy_worlds import Counter
from toys import Crowd, Steps, Walk, game, seeded, toy_agent


def test_an_evaluation_returns_a_score_for_each_episode():
    task = game(steps=4)
    scores = evaluate(toy_agent(task), task, 7, seeded())
    assert scores.keys() == {"error", "final_error", "return"}
    assert all(score.shape == (7,) and not score.requires_grad for score in scores.values())
    assert_close(scores["return"], -scores["final_error"])


def test_a_score_is_the_mean_over_the_steps_that_have_one():
    task = game(steps=4)
    agent = toy_agent(task)
    trajectory, _ = rollout(agent, task, initial_carry(agent, task, 7, seeded()), seeded(), steps=4)
    assert_close(evaluate(agent, task, 7, seeded())["error"], trajectory.scores["error"].mean(0))


def test_an_evaluation_does_not_change_the_agent():
    agent = toy_agent(game(), core="episodic")
    before = {name: p.clone() for name, p in agent.state_dict().items()}
    evaluate(agent, game(), 3, seeded())
    assert all(torch.equal(p, before[name]) for name, p in agent.state_dict().items())
    assert all(p.grad is None for p in agent.parameters())


def test_many_episodes_are_split_into_batches():
    task = GuessingGame(2, 1, dtype=torch.float64)
    agent = toy_agent(task)
    many, first = (evaluate(agent, task, n, seeded())["error"] for n in (1027, 1024))
    assert many.shape == (1027,)
    assert torch.equal(many[:1024], first)
    assert len(many.unique()) == 1027  # all of them are new episodes


def test_the_number_of_experts_in_a_batch_is_limited():
    task = GuessingGame(2, 1, dtype=torch.float64)
    agent, shapes = toy_agent(task, bus="silent", topology="none"), []
    evaluate(
        agent, task, 40, seeded(), experts=5000, modify_state=lambda state: shapes.append(state.y.shape[:2]) or state
    )
    assert max(batch * experts for batch, experts in shapes) <= 2**16 and sum(batch for batch, _ in shapes) == 40


@pytest.mark.parametrize("episodes", [2, 1026])
def test_modify_state_is_applied_before_the_first_step_of_every_batch(episodes):
    task = GuessingGame(2, 1, dtype=torch.float64)
    agent = toy_agent(task, experts=2)
    lesion = partial(agent.remove, experts=[0, 1])
    error = evaluate(agent, task, episodes, seeded(), modify_state=lesion)["error"]
    zero = evaluate(agent, task, episodes, seeded(), policy=lambda output, mask, *_: (torch.zeros_like(output), ()))
    assert torch.equal(error, zero["error"])  # an agent without experts returns 0


def test_an_evaluation_without_episodes_raises():
    with pytest.raises(ValueError, match="episodes=0, want at least 1"):
        evaluate(toy_agent(game()), game(), 0, seeded())


class Rewarded(Walk):
    """A walk with reward 1 in each step, so that the return is the length of the episode."""

    differentiable: ClassVar[bool] = False

    def _make_step(self, state, reward):
        return super()._make_step(state, torch.ones_like(reward) * (state.t > 0))


def test_only_the_first_episode_of_a_row_counts():
    task = Rewarded(steps=6, dtype=torch.float64)
    scores = evaluate(toy_agent(task), task, 50, seeded())
    assert torch.equal(scores["return"], scores["length"]) and len(scores["length"].unique()) == 6


def test_the_return_of_per_expert_rewards_is_their_mean():
    task = Crowd(dtype=torch.float64)
    assert evaluate(toy_agent(task), task, 5, seeded())["return"].shape == (5,)


@pytest.mark.parametrize("training", [True, False])
def test_an_evaluation_uses_evaluation_mode_and_restores_the_mode(training):
    agent, modes = toy_agent(game(), bus="gated").train(training), []
    evaluate(agent, game(), 4, seeded(3), modify_state=lambda state: modes.append(agent.training) or state)
    assert modes == [False] and agent.training is training


def test_an_evaluation_stops_when_every_first_episode_has_ended():
    lengths, steps = torch.tensor([2, 5, 3]), []

    class Short(Walk):
        def reset(self, batch, rng):
            state, step = super().reset(batch, rng)
            return state._replace(length=lengths[:batch]), step

    task = Short(steps=50, dtype=torch.float64)
    scores = evaluate(toy_agent(task), task, 3, seeded(), hook=lambda state: steps.append(1))
    assert scores["length"].tolist() == lengths.tolist() and len(steps) == 5


def test_an_external_environment_rests_after_its_first_episode():
    calls = []

    class Counted(Counter):
        def step(self, action):
            calls.append(self)
            return super().step(action)

    task = Gymnasium(Counted, steps=50, dtype=torch.float64)
    lengths = evaluate(toy_agent(task), task, 6, seeded(), Greedy(task.action_space))["episodic_length"]
    assert len(calls) == lengths.sum() and len(lengths.unique()) > 1


@pytest.mark.parametrize("deterministic, policy", [(True, Greedy), (False, Sampled)])
def test_deterministic_chooses_the_most_likely_or_a_sampled_action(deterministic, policy):
    task = Steps(dtype=torch.float64)
    other = {Greedy: Sampled, Sampled: Greedy}[policy](task.action_space)
    found, want = (
        evaluate(toy_agent(task), task, 30, seeded(), chosen, deterministic=given)["return"]
        for chosen, given in ((other, deterministic), (policy(task.action_space), None))
    )
    assert torch.equal(found, want)


def test_a_guess_cannot_be_sampled():
    with pytest.raises(ValueError, match="deterministic=False: the policy identity_policy has no actions to sample"):
        evaluate(toy_agent(game()), game(), 2, seeded(), deterministic=False)


def test_a_progress_bar_is_shown_on_a_terminal(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TQDM_MININTERVAL", "0")
    evaluate(toy_agent(game()), game(), 2, seeded())
    assert sys.stderr.getvalue() == ""
    evaluate(toy_agent(game()), game(), 2, seeded(), progress=True)
    assert "evaluation:" in sys.stderr.getvalue()
