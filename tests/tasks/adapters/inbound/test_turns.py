"""Environments whose agents take turns: who acts, who waits, and rewards of the last round."""

import itertools
from functools import partial

import numpy as np
import pytest
import torch
from pettingzoo import ParallelEnv
from pettingzoo.utils import aec_to_parallel, parallel_to_aec, wrappers

import toy_zoo
from badger.testing.task import TASK_PROPERTIES, VALUE_STATE_PROPERTIES
from tasks import PettingZoo
from tasks.adapters.inbound.as_parallel import ActAtOnce, TakeTurns, as_parallel_env
from tasks.adapters.inbound.multi_agent_env import MultiAgentEnv
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


class Unchanged(ParallelEnv):
    """A parallel environment as it is, whose parts cannot be reached."""

    def __init__(self, env):
        self.__dict__.update({name: getattr(env, name) for name in ("metadata", "possible_agents", "render_mode")})
        self.calls = {name: getattr(env, name) for name in ("reset", "step", "observation_space", "action_space")}
        self.current_agents = lambda: env.agents

    agents = property(lambda self: self.current_agents())

    def reset(self, seed=None, options=None):
        return self.calls["reset"](seed=seed)

    def step(self, actions):
        return self.calls["step"](actions)

    def observation_space(self, agent):
        return self.calls["observation_space"](agent)

    def action_space(self, agent):
        return self.calls["action_space"](agent)


def checked(env):
    """The wrappers that environments of PettingZoo have."""
    return wrappers.OrderEnforcingWrapper(wrappers.AssertOutOfBoundsWrapper(env))


def spread():
    return pytest.importorskip("mpe2.simple_spread_v3").parallel_env(max_cycles=5)


CONVERTED = {
    "AEC, converted": lambda: aec_to_parallel(checked(toy_zoo.Turns())),
    "parallel, converted to AEC and back": lambda: aec_to_parallel(checked(parallel_to_aec(toy_zoo.Meadow()))),
    "simple_spread": spread,
}


@pytest.mark.parametrize("make", CONVERTED.values(), ids=CONVERTED)
def test_what_is_bypassed_changes_no_step(make):
    ours, theirs = MultiAgentEnv(make, 0), MultiAgentEnv(lambda: Unchanged(make()), 0)
    assert isinstance(theirs.env, Unchanged)
    for seed in range(3):
        results = [(env.reset(seed=seed)[0], False) for env in (ours, theirs)]
        rng = np.random.default_rng(seed)
        while True:
            np.testing.assert_equal(*results)
            if results[0][1]:
                break
            action = rng.integers([int(n) for n in np.ravel(ours.action_space.nvec)])
            results = [(obs, over) for obs, _, over, _, _ in (env.step(action) for env in (ours, theirs))]


def test_wrappers_that_only_check_are_left_out_and_others_stay():
    class Doubling(wrappers.OrderEnforcingWrapper):
        pass

    parallel, inner = toy_zoo.Pond(), toy_zoo.Turns()
    assert as_parallel_env(aec_to_parallel(checked(parallel_to_aec(parallel)))) is parallel
    assert as_parallel_env(checked(inner)).env is inner
    assert isinstance(as_parallel_env(checked(Doubling(inner))).env, Doubling)


def test_a_game_for_numbers_has_no_masks_for_those_who_wait():
    class Dials(toy_zoo.Cards):
        def action_space(self, agent):
            return toy_zoo.Box(-1, 1, (2,))

    assert set(TakeTurns(Dials()).waiting_masks.values()) == {None}
