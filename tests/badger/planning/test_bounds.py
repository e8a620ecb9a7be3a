"""Bounds against published values, and against each other."""

import dataclasses

import numpy as np
import pytest

from badger.planning import best_blind, fast_informed_bound, heuristic_search, point_based_value_iteration, qmdp
from tasks.pomdp import load_model

PUBLISHED = {  # QMDP, FIB, best blind at the start
    "tiger.95": (189, 87.179487, -20),
    "tiger.aaai": (29, 14.857143, -4),
    "1d": (1.645159, 1.470587, 0.813953),
    "parr95": (12.655565, 7.201040, 6.327783),
    "4x3": (2.333007, 2.111885, -0.589077),
    "cheese": (3.789942, 3.521567, 0.236647),
    "shuttle": (32.889725, 32.889725, 0),
}
OPTIMUM = {"tiger.95": 19.371368, "tiger.aaai": 1.933439, "1d": 1.26035, "parr95": 7.20099, "shuttle": 32.88968}


@pytest.mark.parametrize("name", PUBLISHED)
def test_qmdp_fib_and_the_best_blind_policy_have_the_published_values(name):
    model = load_model(name)
    got = [bound(model).value(model.start) for bound in (qmdp, fast_informed_bound, best_blind)]
    assert got == pytest.approx(PUBLISHED[name], abs=1e-5)


@pytest.mark.parametrize("name", OPTIMUM)
def test_heuristic_search_brackets_the_published_optimum(name):
    found = heuristic_search(load_model(name), 1e-2)
    assert found.lower - 1e-5 <= OPTIMUM[name] <= found.upper + 1e-5 and found.upper - found.lower <= 1e-2


def test_the_upper_bound_is_above_and_the_lower_below_at_every_belief():
    """Against the action values of a long horizon, by enumeration of beliefs of a model with two states."""
    model = load_model("tiger.aaai")
    beliefs = np.stack([np.linspace(0, 1, 101), 1 - np.linspace(0, 1, 101)], -1)
    found = heuristic_search(model, 1e-4)
    tight = heuristic_search(dataclasses.replace(model, start=np.array([0.3, 0.7])), 1e-4)
    assert (found.policy.value(beliefs) <= fast_informed_bound(model).value(beliefs)).all()
    assert found.policy.value(np.array([0.3, 0.7])) <= tight.upper + 1e-9


def test_point_based_value_iteration_is_a_lower_bound_and_improves():
    model = load_model("1d")
    value = point_based_value_iteration(model, beliefs=30, iterations=60).value(model.start)
    assert best_blind(model).value(model.start) < value <= 1.26035 + 1e-5 and value == pytest.approx(1.26035, abs=1e-5)


def test_a_search_that_may_take_no_time_has_bounds():
    found = heuristic_search(load_model("4x3"), 1e-9, seconds=0)
    assert found.lower < 1.89 < found.upper


def test_a_model_without_discount_has_rewards_that_cannot_be_bounded():
    model = dataclasses.replace(load_model("1d"), discount=1.0)
    for solve in (qmdp, fast_informed_bound, best_blind, heuristic_search, point_based_value_iteration):
        with pytest.raises(ValueError, match="discount=1, want a discount below 1, or a finite horizon"):
            solve(model)


def test_a_discount_of_zero_counts_the_first_reward_only():
    model = dataclasses.replace(load_model("tiger.95"), discount=0.0)
    found = heuristic_search(model)
    assert (found.lower, found.upper) == (-1, -1) and qmdp(model).value(model.start) == -1


@pytest.mark.parametrize("solve", [qmdp, heuristic_search])
def test_a_precision_above_zero_is_wanted(solve):
    with pytest.raises(ValueError, match="precision=0, want a number above 0"):
        solve(load_model("1d"), 0)
