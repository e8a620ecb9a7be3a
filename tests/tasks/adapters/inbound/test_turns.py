"""Environments whose agents take turns: who acts, who waits, and rewards of the last round."""

import itertools
from functools import partial

import numpy as np
import pytest
import torch

import toy_zoo
from badger.testing.task import TASK_PROPERTIES, VALUE_STATE_PROPERTIES
from tasks import PettingZoo
from tasks.adapters.inbound.as_parallel import ActAtOnce, TakeTurns
from toys import seeded

UNKNOWN = {"references_belong_to_scores_and_are_finite"}


def play(steps=6, batch=1):
    task, rng = PettingZoo(env=toy_zoo.Cards), seeded()
    state, step = task.reset(batch, rng)
    results = [step]
    for _ in range(steps):
        state, step = task.step(state, step.action_mask.int().argmax(-1), rng)
        results.append(step)
    return results


@pytest.mark.parametrize("check", [name for name in TASK_PROPERTIES if name not in VALUE_STATE_PROPERTIES | UNKNOWN])
def test_a_game_in_turns_passes_the_contract_of_tasks(check):
    TASK_PROPERTIES[check](PettingZoo(env=partial(toy_zoo.Cards, strict=False), steps=6, dtype=torch.float64))


def test_the_agent_whose_turn_it_is_has_the_mask_of_the_game_and_the_others_one_option():
    for t, step in enumerate(play(4)):
        assert step.action_mask[0].sum(-1).tolist() == [[2, 1], [1, 2]][t % 2]
        assert step.present.all()


def test_an_agent_that_waits_observes_the_game():
    assert [step.obs[0, 1, 0].item() for step in play(4)] == [0, 1, 2, 3, 4]


def test_the_loser_is_told_although_it_does_not_act():
    *before, last = play(5)
    assert last.reward[0].tolist() == [1, -1] and last.terminated.all()
    assert not any(step.reward.any() for step in before)


def test_each_agent_is_observed_once_a_step_where_all_act_at_once():
    env = toy_zoo.Turns()
    calls = []
    observe, env.observe = env.observe, lambda name: calls.append(name) or observe(name)
    both = ActAtOnce(env)
    both.reset(seed=0)
    calls.clear()
    both.step({"left_0": 1, "right_0": 2})
    assert calls == ["left_0", "right_0"]


def test_agents_that_act_at_once_are_paid_as_pettingzoo_converts_them():
    from pettingzoo.utils import aec_to_parallel

    ours, theirs = ActAtOnce(toy_zoo.Turns()), aec_to_parallel(toy_zoo.Turns())
    for env in (ours, theirs):
        env.reset(seed=3)
    for a, b in itertools.product(range(2), repeat=2):
        if not theirs.agents:
            break
        results = [env.step({"left_0": a, "right_0": b}) for env in (ours, theirs)]
        for one, other in zip(*results, strict=True):
            assert one.keys() == other.keys()
            assert all(np.array_equal(one[name], other[name]) for name in one)
        assert ours.agents == theirs.agents


def test_a_game_for_numbers_has_no_masks_for_those_who_wait():
    class Dials(toy_zoo.Cards):
        def action_space(self, agent):
            return toy_zoo.Box(-1, 1, (2,))

    assert set(TakeTurns(Dials()).waiting_masks.values()) == {None}
