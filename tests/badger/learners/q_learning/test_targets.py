"""Targets and priorities of Q-learning against values computed by hand."""

import pytest
import torch
from torch.testing import assert_close

from badger.learners.q_learning import targets as qlearning
from badger.learners.q_learning.targets import (
    discrepancy,
    greedy_value,
    n_step_returns,
    select_q,
    sequence_priority,
    signed_hyperbolic,
    signed_parabolic,
)
from toys import seeded


def column(*numbers):
    return torch.tensor(numbers, dtype=torch.float64).unsqueeze(-1)


def flags(*bits):
    return torch.tensor(bits, dtype=torch.bool).unsqueeze(-1)


def returns_of(n, *, reward=(1, 2, 3, 4), value=(10, 20, 30, 40, 50), terminated=(0, 0, 0, 0), valid=(1, 1, 1, 1)):
    returns = n_step_returns(column(*reward), column(*value), flags(*terminated), flags(*valid), gamma=0.5, n=n)
    return returns.squeeze(-1).tolist()


def test_a_one_step_return_is_the_reward_plus_the_next_value():
    assert returns_of(1) == [1 + 10, 2 + 15, 3 + 20, 4 + 25]


def test_n_steps_end_where_the_sequence_does():
    assert returns_of(2) == [1 + 1 + 7.5, 2 + 1.5 + 10, 3 + 2 + 12.5, 4 + 25]
    assert returns_of(9) == [1 + 1 + 0.75 + 0.5 + 3.125, 2 + 1.5 + 1 + 6.25, 3 + 2 + 12.5, 4 + 25]


def test_a_termination_stops_bootstrapping():
    ended = {"terminated": (0, 1, 0, 0), "valid": (1, 1, 0, 0)}
    assert returns_of(1, **ended)[:2] == [1 + 10, 2]
    assert returns_of(3, **ended)[:2] == [1 + 1, 2]


def test_a_truncation_bootstraps_from_the_final_observation():
    ended = {"valid": (1, 1, 0, 0)}
    assert returns_of(1, **ended)[:2] == [1 + 10, 2 + 15]
    assert returns_of(3, **ended)[:2] == [1 + 1 + 7.5, 2 + 15]


@pytest.mark.parametrize("terminated", [(0, 1, 0, 0), (0, 0, 0, 0)])
def test_steps_after_the_end_have_no_effect(terminated):
    nan = float("nan")
    ended = {"terminated": terminated, "valid": (1, 1, 0, 0), "reward": (1, 2, nan, nan)}
    value = (10, 20, nan if terminated[1] else 30, nan, nan)
    for n in (1, 2, 5):
        assert returns_of(n, **ended, value=value)[:2] == returns_of(n, terminated=terminated, valid=(1, 1, 0, 0))[:2]


def test_rescaling_by_hand():
    assert_close(signed_hyperbolic(column(3, -8, 0)), column(1.003, -2.008, 0))


def test_rescaling_has_an_inverse():
    x = torch.randn(1000, dtype=torch.float64, generator=seeded()) * 10 ** torch.linspace(-6, 6, 1000)
    assert_close(signed_parabolic(signed_hyperbolic(x)), x, rtol=1e-9, atol=1e-15)
    assert_close(signed_hyperbolic(signed_parabolic(x)), x, rtol=1e-9, atol=1e-15)


def test_identity_does_not_rescale():
    assert qlearning.IDENTITY.apply_inv(qlearning.IDENTITY.apply(3.5)) == 3.5


def test_double_q_evaluates_the_action_that_the_selector_maximizes():
    q, by = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[0.0, 9.0, 5.0]])
    assert greedy_value(q, q).tolist() == [3.0]
    assert greedy_value(q, by).tolist() == [2.0]


def test_masked_actions_are_never_greedy():
    q = torch.tensor([[1.0, 2.0, 3.0]] * 3)
    legal = torch.tensor([[True, True, False], [True, False, False], [False] * 3])
    assert greedy_value(q, q, legal).tolist() == [2.0, 1.0, 3.0]


def test_select_q_is_the_value_of_the_action_taken():
    assert select_q(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([1, 0])).tolist() == [2.0, 3.0]


def test_a_priority_mixes_the_largest_error_and_the_mean():
    errors, counts = torch.tensor([[1.0], [-3.0], [7.0]]), torch.tensor([[True], [True], [False]])
    assert_close(sequence_priority(errors, counts, eta=0.9), torch.tensor([0.9 * 3 + 0.1 * 2]))


def test_a_discrepancy_is_relative_to_the_largest_value_of_the_sequence():
    replayed = torch.tensor([[[1.0, -4.0]], [[3.0, 0.0]], [[100.0, 100.0]]])
    reference = torch.tensor([[[1.0, -4.0]], [[0.0, 4.0]], [[0.0, 0.0]]])
    found = discrepancy(replayed, reference, torch.tensor([[True], [True], [False]]))
    assert_close(found[:2], torch.tensor([[0.0], [5 / 4]]))
