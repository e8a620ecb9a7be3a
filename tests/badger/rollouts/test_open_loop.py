"""Open-loop rollouts equal stepping the agent, and are used only where inputs are known in advance."""

import sys

import pytest
import torch
from torch.testing import assert_close

from badger import BPTT, BUSES, CORES, RepeatPrevious, Silent, initial_carry, rollout, sense
from badger.act import Readout
from badger.agent import Agent
from badger.rng import drawing_from, generator
from badger.rollouts.open_loop import OpenLoopAgent, try_open_loop
from toys import HIDDEN, IDENTITY, game, seeded

TASK = RepeatPrevious(k=2, symbols=3, steps=7, dtype=torch.float64)


def silent_agent(core="episodic", bus=Silent, comm_rounds=1, task=TASK):
    with drawing_from(generator(0, "toy")):
        return Agent(
            sense=sense.Broadcast(task.obs_size),
            core=CORES[core](task.obs_size + IDENTITY + (4 if bus is not Silent else 0), HIDDEN),
            bus=Silent(HIDDEN) if bus is Silent else bus(HIDDEN, 4),
            act=Readout(HIDDEN, task.action_space.size),
            experts=3,
            identity_size=IDENTITY,
            comm_rounds=comm_rounds,
        ).double()


def disable_open_loop(monkeypatch):
    monkeypatch.setattr(sys.modules["badger.rollouts.loop"], "try_open_loop", lambda agent, *_: agent)


def run(agent, steps=7, before=0):
    """Trajectory, carry and gradients of `steps` steps after some others."""
    rng = seeded(3)
    carry = initial_carry(agent, TASK, 4, rng)
    if before:
        _, carry = rollout(agent, TASK, carry, rng, steps=before)
    trajectory, carry = rollout(agent, TASK, carry, rng, steps=steps)
    gradients = torch.autograd.grad(trajectory.reward.sum(), list(agent.parameters()), allow_unused=True)
    return trajectory, carry, gradients


@pytest.mark.parametrize("core", ["gru", "lstm", "episodic", "episodic_shared"])
@pytest.mark.parametrize(("steps", "before"), [(7, 0), (4, 3), (2, 1), (9, 3)])
def test_an_open_loop_rollout_equals_stepping(core, steps, before, monkeypatch):
    agent = silent_agent(core)
    trajectory, carry, gradients = run(agent, steps, before)
    disable_open_loop(monkeypatch)
    expected, last, expected_gradients = run(agent, steps, before)
    for name in ("obs", "output", "action", "reward", "terminated", "valid"):
        assert_close(getattr(trajectory, name), getattr(expected, name))
    assert trajectory.scores.keys() == expected.scores.keys()
    assert_close(carry.agent_state.y, last.agent_state.y)
    assert_close(gradients, expected_gradients)


@pytest.mark.parametrize("core", ["gru", "episodic"])
def test_the_final_state_equals_that_of_stepping(core, monkeypatch):
    agent = silent_agent(core)
    open_loop = run(agent, 3)[1]
    disable_open_loop(monkeypatch)
    stepped = run(agent, 3)[1]
    for carry in (open_loop, stepped):
        assert carry.elapsed == 3
    assert_close(*(rollout(agent, TASK, carry, seeded(5), steps=4)[0].output for carry in (open_loop, stepped)))


def test_an_update_is_the_same(monkeypatch):
    def updated():
        learner = BPTT(silent_agent(), TASK, batch=4)
        learner.update()
        return list(learner.agent.parameters())

    open_loop = updated()
    disable_open_loop(monkeypatch)
    assert_close(open_loop, updated())


def rollout_agent(agent, task=TASK, steps=7, modify_state=None):
    rng = seeded()
    carry = initial_carry(agent, task, 2, rng)
    carry = carry if modify_state is None else carry._replace(agent_state=modify_state(carry.agent_state))
    return try_open_loop(agent, task, carry, rng, steps)


def test_a_silent_agent_is_run_open_loop():
    assert isinstance(rollout_agent(silent_agent()), OpenLoopAgent)


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (lambda: silent_agent(bus=BUSES["mean"]), {}),  # inboxes depend on outputs
        (lambda: silent_agent(comm_rounds=2), {}),
        (lambda: silent_agent(task=game()), {"task": game(), "steps": 5}),  # the observation depends on the guess
        (silent_agent, {"steps": 8}),  # another episode starts in between
        (silent_agent, {"modify_state": lambda s: s._replace(present=torch.ones(2, 3, dtype=torch.bool))}),
    ],
    ids=["communication", "comm_rounds", "closed loop", "next episode", "absences"],
)
def test_other_agents_are_stepped(make, options):
    agent = make()
    assert rollout_agent(agent, **options) is agent


def test_a_hook_receives_the_state_of_each_step():
    agent = silent_agent()
    trajectory, _ = rollout(agent, TASK, initial_carry(agent, TASK, 2, seeded()), seeded(), steps=7, hook=lambda s: s.y)
    assert not torch.equal(trajectory.hook_outputs[0], trajectory.hook_outputs[1])
