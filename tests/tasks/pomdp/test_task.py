"""Episodes of a POMDP against its tables."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from badger.testing.task.cases import play, seeded
from tasks import Pomdp, PreviousActionReward
from tasks.pomdp import load_model

MANY = 20_000


@pytest.mark.parametrize("name", ["tiger.95", "1d", "shuttle"])
def test_states_and_observations_are_drawn_from_the_tables(name):
    model, task = load_model(name), Pomdp(4, name, dtype=torch.float64)
    rng = seeded()
    action = torch.randint(len(model.actions), (MANY,), generator=rng)
    state, first = task.reset(MANY, rng)
    before = state.s
    for _ in range(2):
        before = state.s
        state, step = task.step(state, action, rng)
    assert not first.obs.any() and (step.obs.sum(-1) == 1).all()
    seen, counts = step.obs.argmax(-1), np.zeros((*model.transition.shape, len(model.observations)))
    np.add.at(counts, (action.numpy(), before.numpy(), state.s.numpy(), seen.numpy()), 1)
    joint = model.transition[..., None] * model.observation[:, None]
    rows = counts.sum((2, 3), keepdims=True)
    assert (counts[joint == 0] == 0).all()
    assert (np.abs(counts - rows * joint) <= 5 * np.sqrt(rows * joint * (1 - joint)) + 1e-9).all()


def test_rewards_are_those_of_the_table_and_the_score_is_their_discounted_sum():
    model, task = load_model("tiger.95"), Pomdp(3, "tiger.95", dtype=torch.float64)
    actions = [torch.tensor([0, 1, 2, 2]), torch.tensor([0, 0, 1, 2]), torch.tensor([2, 1, 0, 1])]
    episode = play(task, actions)
    total = torch.zeros(4, dtype=torch.float64)
    for t, ((before, _), (_, step)) in enumerate(pairwise(episode)):
        want = torch.tensor(model.expected_reward)[actions[t], before.s]  # in this model a function of action and state
        assert torch.equal(step.reward, want)
        total += 0.95**t * step.reward
    assert_close(episode[-1][1].scores["discounted_return"], total)
    assert episode[-1][1].truncated.all() and not episode[-1][1].terminated.any()


def test_references_are_the_returns_of_those_policies():
    task = Pomdp(5, "1d", dtype=torch.float64)
    lines = task.references()["discounted_return"]
    rng = seeded(1)
    for name, choose in {
        "chance": lambda s: torch.randint(2, (MANY,), generator=rng),
        "best blind": lambda s: torch.ones(MANY, dtype=torch.int64),
        "state observed": lambda s: (s < 2).long(),
    }.items():
        state, step = task.reset(MANY, rng)
        while not step.truncated.all():
            state, step = task.step(state, choose(state.s), rng)
        got = step.scores["discounted_return"]
        assert got.mean().item() == pytest.approx(lines[name], abs=5 * got.std().item() / MANY**0.5)


def test_an_agent_may_observe_its_last_action():
    task = PreviousActionReward(Pomdp(3))
    (_, first), (_, step) = play(task, [torch.tensor([2, 0])])
    assert not first.obs.any() and step.obs.shape == (2, 2 + 3 + 2)
    assert step.obs[:, 2:5].tolist() == [[0, 0, 1], [1, 0, 0]]


def test_an_episode_needs_a_step():
    with pytest.raises(ValueError, match="steps=0, want at least 1"):
        Pomdp(0)
