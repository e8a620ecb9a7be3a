"""Dec-Tiger against an enumeration of policies, and published optima."""

import itertools

import numpy as np
import pytest
import torch

from badger.planning import value_iteration
from badger.testing.task.cases import seeded
from tasks.pomdp import DecTiger, joint_model
from tasks.pomdp.dec_tiger import OPTIMUM, SHARED

LISTEN, LEFT, RIGHT = range(3)


def value(policies, steps):
    """The expected return of two policies, functions of what was heard, by enumeration of all that can happen."""
    model = joint_model()

    def rest(belief, histories, t):
        """The expected return from here on; the belief is not normalized."""
        if t == steps:
            return 0.0
        a = 3 * policies[0](histories[0]) + policies[1](histories[1])
        total = float(belief @ model.expected_reward[a])
        for o in range(4):
            after = (belief @ model.transition[a]) * model.observation[a, :, o]
            if after.sum() > 0:
                total += rest(after, ((*histories[0], o // 2), (*histories[1], o % 2)), t + 1)
        return total

    return rest(model.start, ((), ()), 0)


def test_the_optimum_of_two_steps_is_the_best_of_all_pairs_of_policies():
    trees = [dict(zip([(), (0,), (1,)], tree, strict=True)) for tree in itertools.product(range(3), repeat=3)]
    pairs = itertools.combinations_with_replacement(trees, 2)
    assert max(value([a.__getitem__, b.__getitem__], 2) for a, b in pairs) == pytest.approx(OPTIMUM[2])


def test_to_open_after_two_equal_sounds_is_the_optimum_of_three_steps():
    def opens(heard):
        if len(heard) < 2 or heard[0] != heard[1]:
            return LISTEN
        return RIGHT if heard[0] == 0 else LEFT

    assert value([opens, opens], 3) == pytest.approx(OPTIMUM[3], abs=1e-6)


@pytest.mark.parametrize("steps", SHARED)
def test_a_player_who_hears_both_has_the_value_of_the_joint_model(steps):
    assert value_iteration(joint_model(), steps).value(np.full(2, 0.5)) == pytest.approx(SHARED[steps], abs=1e-6)


@pytest.mark.parametrize(
    ("pair", "rewards"),
    [
        ((LISTEN, LISTEN), (-2, -2)),
        ((LEFT, LEFT), (-50, 20)),
        ((RIGHT, RIGHT), (20, -50)),
        ((LEFT, RIGHT), (-100, -100)),
        ((LISTEN, LEFT), (-101, 9)),
        ((RIGHT, LISTEN), (9, -101)),
    ],
)
def test_both_are_paid_the_reward_of_their_two_actions(pair, rewards):
    task = DecTiger(3, dtype=torch.float64)
    state, first = task.reset(200, seeded())
    after, step = task.step(state, torch.tensor([pair] * 200), seeded(1))
    want = torch.tensor(rewards, dtype=torch.float64)[state.s].unsqueeze(-1).expand(-1, 2)
    assert torch.equal(step.reward, want) and not first.obs.any()
    assert torch.equal(after.s, state.s) == (pair == (LISTEN, LISTEN))
    own = torch.tensor([[*torch.eye(3)[a].tolist(), 1 / 3] for a in pair], dtype=torch.float64)
    assert torch.allclose(step.obs[:, :, 2:], own.expand(200, 2, 4))


def test_each_hears_on_its_own():
    task = DecTiger(3, dtype=torch.float64)
    state, _ = task.reset(20_000, seeded())
    _, step = task.step(state, torch.zeros(20_000, 2, dtype=torch.int64), seeded(1))
    right = step.obs[..., :2].argmax(-1) == state.s.unsqueeze(-1)
    assert right.double().mean(0).tolist() == pytest.approx([0.85, 0.85], abs=0.01)
    assert right.all(1).double().mean().item() == pytest.approx(0.85**2, abs=0.01)


def test_an_action_for_each_agent_is_wanted():
    task = DecTiger()
    with pytest.raises(ValueError, match=r"actions \(2,\) of torch.int64, want integers \(batch, 2\) from 0 to 2"):
        task.step(task.reset(2, seeded())[0], torch.zeros(2, dtype=torch.int64), seeded())
