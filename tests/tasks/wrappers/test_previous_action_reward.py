"""The wrapper that appends the previous action and reward to the observation."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from torch.testing import assert_close

from badger import CartPole, GuessingGame, PooledRecall, RepeatPrevious, TMaze
from badger.testing import TASK_PROPERTIES, check_task
from badger.testing.task.cases import B, action, play
from tasks import MultiDiscrete, PreviousActionReward
from toys import Crowd, Steps, seeded

TASKS = {
    "early": lambda dtype: PreviousActionReward(Steps(dtype=dtype)),
    "fixed": lambda dtype: PreviousActionReward(TMaze(3, dtype=dtype)),
    "numbers": lambda dtype: PreviousActionReward(GuessingGame(3, 2, dtype=dtype)),
    "differentiable": lambda dtype: PreviousActionReward(RepeatPrevious(5, 2, dtype=dtype)),
    "each its own": lambda dtype: PreviousActionReward(PooledRecall(steps=3, experts=2, num_queries=1, dtype=dtype)),
}


@pytest.mark.parametrize("make", TASKS.values(), ids=TASKS)
def test_a_wrapped_task_passes_the_contract(make):
    """All but one: a reward that is seen tells logits, which are paid a log-probability, from integers."""
    check_task(make, properties=TASK_PROPERTIES.keys() - {"logits_and_integers_agree"})


def test_previous_action_reward_and_end_flag_are_appended():
    task = CartPole(3, dtype=torch.float64)
    actions = [torch.tensor([0, 1, 1, 0])] * 3
    for (_, plain), (_, results) in zip(play(task, actions), play(PreviousActionReward(task), actions), strict=True):
        assert torch.equal(results.obs[:, :4], plain.obs)
        late = (plain.terminated | plain.truncated).double()
        started = plain.reward  # each step of this task pays 1, and the start does not
        expected = torch.stack([started * (actions[0] == 0), started * (actions[0] == 1), plain.reward, late], -1)
        assert torch.equal(results.obs[:, 4:], expected)


def test_a_reset_clears_the_previous_action_and_reward():
    task = PreviousActionReward(TMaze(2, dtype=torch.float64))
    state, _ = play(task, [torch.zeros(4, dtype=torch.long)] * 3)[-1]
    _, reset_step = task.restart(state, torch.ones(4, dtype=torch.bool), seeded())
    assert not reset_step.obs[:, 2:].any() and reset_step.obs[:, 1].all()


@dataclass(frozen=True)
class Pairs(Steps):
    """Two choices at once, of which the first counts."""

    differentiable: ClassVar[bool] = False

    @property
    def action_space(self):
        return MultiDiscrete((3, 2))

    def step(self, state, action, rng):
        return super().step(state, action[..., 0], rng)

    def _make_step(self, state, reward):
        return super()._make_step(state, reward)._replace(action_mask=None)


def test_multiple_choices_are_observed_as_concatenated_one_hots():
    task = PreviousActionReward(Pairs(dtype=torch.float64))
    _, (_, step) = play(task, [torch.tensor([[2, 0], [0, 1]])])
    assert step.obs[:, 2:7].tolist() == [[0, 0, 1, 1, 0], [1, 0, 0, 0, 1]]


def test_logits_are_observed_by_their_argmax_and_real_numbers_unchanged():
    task, logits = (
        PreviousActionReward(RepeatPrevious(5, 2, symbols=3, dtype=torch.float64)),
        torch.randn(B, 3, generator=seeded()),
    )
    _, (_, step) = play(task, [logits.double().requires_grad_()])
    assert torch.equal(step.obs[:, 3:6].argmax(-1), logits.argmax(-1)) and not step.obs.requires_grad
    game = PreviousActionReward(GuessingGame(3, 2, dtype=torch.float64))
    _, (_, step) = play(game, [action(game)])
    assert_close(step.obs[:, 1:3], action(game))


def test_rewards_per_agent_need_observations_per_agent():
    task = PreviousActionReward(Crowd(dtype=torch.float64))
    with pytest.raises(
        ValueError, match=r"task=Crowd returns rewards per agent, \(4, 4\), but one observation for all, \(4, 2\)"
    ):
        play(task, [action(task)])


def test_the_dtype_is_that_of_the_task_unless_given():
    assert PreviousActionReward(TMaze(dtype=torch.float64)).dtype == torch.float64
    assert PreviousActionReward(TMaze(), dtype=torch.float64).task.dtype == torch.float64


def test_it_wants_a_task():
    with pytest.raises(ValueError, match="task=None, want a Task, as in PreviousActionReward"):
        PreviousActionReward()
