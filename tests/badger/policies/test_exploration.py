"""Epsilon-greedy exploration, action masks and epsilon schedules."""

import pytest
import torch

from badger import EpsilonGreedy
from badger.learners.schedules import ApexEpsilon, LinearEpsilon
from tasks import Continuous, Discrete, MultiDiscrete
from toys import seeded

Q = torch.tensor([[1.0, 3.0, 2.0]]).expand(30_000, -1)


def frequencies(epsilon, action_mask=None):
    action_mask = None if action_mask is None else torch.tensor([action_mask]).expand(len(Q), -1)
    actions, _ = EpsilonGreedy(Discrete(3), epsilon)(Q, action_mask, (), seeded())
    return (actions.bincount(minlength=3) / len(Q)).tolist()


def test_random_actions_have_probability_epsilon():
    assert frequencies(0.0) == [0, 1, 0]
    assert frequencies(0.3) == pytest.approx([0.1, 0.8, 0.1], abs=0.01)
    assert frequencies(1.0) == pytest.approx([1 / 3] * 3, abs=0.01)


def test_masked_actions_are_never_taken():
    assert frequencies(0.5, [True, False, True]) == pytest.approx([0.25, 0, 0.75], abs=0.01)
    assert frequencies(1.0, [False, False, True]) == [0, 0, 1]


def test_each_row_may_have_its_own_epsilon():
    epsilon = torch.tensor([0.0, 1.0]).repeat_interleave(15_000)
    actions, _ = EpsilonGreedy(Discrete(3), epsilon)(Q, None, (), seeded())
    assert (actions[:15_000] == 1).all()
    assert (actions[15_000:].bincount(minlength=3) / 15_000).tolist() == pytest.approx([1 / 3] * 3, abs=0.02)


def test_a_linear_schedule_decays_linearly():
    schedule = LinearEpsilon(1.0, 0.2, 10)
    for step, epsilon in {0: 1.0, 5: 0.6, 10: 0.2, 99: 0.2}.items():
        assert schedule(step, 2) == pytest.approx([epsilon] * 2)
    assert LinearEpsilon(1.0, 0.2, 0)(0, 1) == pytest.approx([0.2])


def test_apex_epsilons_are_powers_by_row():
    assert ApexEpsilon(0.5, 2)(7, 3) == [0.5, 0.25, 0.125]
    assert ApexEpsilon(0.5, 2)(0, 1) == [0.5]


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: EpsilonGreedy(MultiDiscrete((2, 2)), 0.1), r"space=MultiDiscrete.* want tasks\.Discrete"),
        (lambda: EpsilonGreedy(Continuous(2), 0.1), r"space=Continuous.* want tasks\.Discrete"),
        (lambda: EpsilonGreedy(Discrete(2), 1.1), r"epsilon=1\.1, want a probability"),
        (lambda: LinearEpsilon(2.0), r"initial=2\.0, want a probability"),
        (lambda: LinearEpsilon(decay_steps=-1), "decay_steps=-1, want 0 or more"),
        (lambda: ApexEpsilon(base=-1), "base=-1, want a probability"),
        (lambda: ApexEpsilon(alpha=-1), "alpha=-1, want at least 0"),
    ],
)
def test_invalid_options_raise(make, error):
    with pytest.raises(ValueError, match=error):
        make()
