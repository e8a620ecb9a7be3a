"""Reading ahead gives what stepping gives, where it may; and elsewhere the agent is stepped."""

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


def stepped(monkeypatch):
    monkeypatch.setattr(sys.modules["badger.rollouts.loop"], "ahead", lambda agent, *_: agent)


def played(agent, steps=7, before=0):
    """Frames, carry and gradients of `steps` steps after some others."""
    rng = seeded(3)
    carry = initial_carry(agent, TASK, 4, rng)
    if before:
        _, carry = rollout(agent, TASK, carry, rng, steps=before)
    frames, carry = rollout(agent, TASK, carry, rng, steps=steps)
    gradients = torch.autograd.grad(frames.reward.sum(), list(agent.parameters()), allow_unused=True)
    return frames, carry, gradients


@pytest.mark.parametrize("core", ["gru", "lstm", "episodic", "episodic_shared"])
@pytest.mark.parametrize(("steps", "before"), [(7, 0), (4, 3), (2, 1), (9, 3)])
def test_reading_ahead_equals_stepping(core, steps, before, monkeypatch):
    agent = silent_agent(core)
    frames, carry, gradients = played(agent, steps, before)
    stepped(monkeypatch)
    wanted, last, slopes = played(agent, steps, before)
    for name in ("obs", "output", "action", "reward", "terminated", "valid"):
        assert_close(getattr(frames, name), getattr(wanted, name))
    assert frames.scores.keys() == wanted.scores.keys()
    assert_close(carry.agent_state.y, last.agent_state.y)
    assert_close(gradients, slopes)


@pytest.mark.parametrize("core", ["gru", "episodic"])
def test_the_state_after_it_goes_on_as_after_stepping(core, monkeypatch):
    agent = silent_agent(core)
    ours = played(agent, 3)[1]
    stepped(monkeypatch)
    theirs = played(agent, 3)[1]
    for carry in (ours, theirs):
        assert carry.elapsed == 3
    assert_close(*(rollout(agent, TASK, carry, seeded(5), steps=4)[0].output for carry in (ours, theirs)))


def test_an_update_is_the_same(monkeypatch):
    def updated():
        learner = BPTT(silent_agent(), TASK, batch=4)
        learner.update()
        return list(learner.agent.parameters())

    ours = updated()
    stepped(monkeypatch)
    assert_close(ours, updated())


def player(agent, task=TASK, steps=7, change=None):
    rng = seeded()
    carry = initial_carry(agent, task, 2, rng)
    carry = carry if change is None else carry._replace(agent_state=change(carry.agent_state))
    return try_open_loop(agent, task, carry, rng, steps)


def test_a_silent_agent_reads_ahead():
    assert isinstance(player(silent_agent()), OpenLoopAgent)


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (lambda: silent_agent(bus=BUSES["mean"]), {}),  # what is heard follows from what was said
        (lambda: silent_agent(comm_rounds=2), {}),
        (lambda: silent_agent(task=game()), {"task": game(), "steps": 5}),  # the guess decides what is told
        (silent_agent, {"steps": 8}),  # another episode begins in between
        (silent_agent, {"change": lambda s: s._replace(present=torch.ones(2, 3, dtype=torch.bool))}),
    ],
    ids=["talking", "comm_rounds", "closed loop", "next episode", "absences"],
)
def test_others_are_stepped(make, options):
    agent = make()
    assert player(agent, **options) is agent


def test_what_is_watched_is_seen_at_each_step():
    agent = silent_agent()
    frames, _ = rollout(agent, TASK, initial_carry(agent, TASK, 2, seeded()), seeded(), steps=7, hook=lambda s: s.y)
    assert not torch.equal(frames.hook_outputs[0], frames.hook_outputs[1])
