"""How those who learn values explore: by chance, in legal ways, less and less or each row in its own measure."""

import pytest
import torch

from badger import ApexEpsilon, EpsilonGreedy, LinearEpsilon
from tasks import Continuous, Discrete, MultiDiscrete
from toys import seeded

Q = torch.tensor([[1.0, 3.0, 2.0]]).expand(30_000, -1)


def shares(epsilon, legal=None):
    legal = None if legal is None else torch.tensor([legal]).expand(len(Q), -1)
    actions = EpsilonGreedy(Discrete(3), epsilon)(Q, legal, seeded())
    return (actions.bincount(minlength=3) / len(Q)).tolist()


def test_it_takes_the_best_but_for_a_share_of_any():
    assert shares(0.0) == [0, 1, 0]
    assert shares(0.3) == pytest.approx([0.1, 0.8, 0.1], abs=0.01)
    assert shares(1.0) == pytest.approx([1 / 3] * 3, abs=0.01)


def test_what_is_not_legal_is_never_done():
    assert shares(0.5, [True, False, True]) == pytest.approx([0.25, 0, 0.75], abs=0.01)
    assert shares(1.0, [False, False, True]) == [0, 0, 1]


def test_each_row_may_explore_in_its_own_measure():
    epsilon = torch.tensor([0.0, 1.0]).repeat_interleave(15_000)
    actions = EpsilonGreedy(Discrete(3), epsilon)(Q, None, seeded())
    assert (actions[:15_000] == 1).all()
    assert (actions[15_000:].bincount(minlength=3) / 15_000).tolist() == pytest.approx([1 / 3] * 3, abs=0.02)


def test_a_decay_goes_down_in_a_straight_line():
    decay = LinearEpsilon(1.0, 0.2, 10)
    for step, epsilon in {0: 1.0, 5: 0.6, 10: 0.2, 99: 0.2}.items():
        assert decay(step, 2) == pytest.approx([epsilon] * 2)
    assert LinearEpsilon(1.0, 0.2, 0)(0, 1) == pytest.approx([0.2])


def test_a_ladder_gives_each_row_its_own():
    assert ApexEpsilon(0.5, 2)(7, 3) == [0.5, 0.25, 0.125]
    assert ApexEpsilon(0.5, 2)(0, 1) == [0.5]


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: EpsilonGreedy(MultiDiscrete((2, 2)), 0.1), r"actions are MultiDiscrete.* want tasks\.Discrete"),
        (lambda: EpsilonGreedy(Continuous(2), 0.1), r"actions are Continuous.* want tasks\.Discrete"),
        (lambda: EpsilonGreedy(Discrete(2), 1.1), r"epsilon=1\.1, want a probability"),
        (lambda: LinearEpsilon(2.0), r"first=2\.0, want a probability"),
        (lambda: LinearEpsilon(decay_steps=-1), "steps=-1, want 0 or more"),
        (lambda: ApexEpsilon(base=-1), "first=-1, want a probability"),
        (lambda: ApexEpsilon(alpha=-1), "power=-1, want at least 0"),
    ],
)
def test_options_that_make_no_sense_are_refused(make, error):
    with pytest.raises(ValueError, match=error):
        make()
