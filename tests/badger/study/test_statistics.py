"""Statistics of runs: against scipy, or worked out by hand."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats

from badger.study import statistics
from badger.study.statistics import (
    bootstrap,
    censored_median,
    interquartile_mean,
    pooled,
    probability_of_improvement,
    wilson,
)

NEVER = math.inf


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("successes, runs", [(0, 10), (1, 10), (5, 10), (10, 10), (0, 1), (3, 7)])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_the_interval_of_a_fraction_is_wilsons(successes, runs, confidence):
    wanted = scipy.stats.binomtest(successes, runs).proportion_ci(confidence, method="wilson")
    assert wilson(successes, runs, confidence) == pytest.approx((wanted.low, wanted.high), abs=1e-12)


@pytest.mark.parametrize("successes, runs", [(1, 0), (0, 0), (-1, 3), (4, 3)])
def test_a_fraction_that_is_none_is_refused(successes, runs):
    with pytest.raises(ValueError, match=f"{successes} successes in {runs} runs, want at least 1 run"):
        wilson(successes, runs)


@pytest.mark.parametrize("runs", [4, 8, 20])
def test_the_interquartile_mean_is_the_trimmed_mean_where_four_divides_the_runs(rng, runs):
    scores = rng.normal(size=(3, runs))
    np.testing.assert_allclose(interquartile_mean(scores), scipy.stats.trim_mean(scores, 0.25, axis=-1))


@pytest.mark.parametrize(
    "scores, wanted",
    [
        ([7], 7),
        ([1, 5], 3),
        ([0, 3, 9], (0.25 * 0 + 3 + 0.25 * 9) / 1.5),
        ([9, 1, 2, 4, 100], (0.75 * 2 + 4 + 0.75 * 9) / 2.5),
        ([0, 1, 2, 3, 4, 100], (0.5 * 1 + 2 + 3 + 0.5 * 4) / 3),
    ],
)
def test_a_run_on_the_border_of_the_middle_half_counts_in_part(scores, wanted):
    assert interquartile_mean(np.array(scores)) == pytest.approx(wanted)


def test_what_is_trimmed_may_be_infinite():
    assert interquartile_mean(np.array([1, 2, 3, NEVER])) == 2.5
    assert interquartile_mean(np.array([1, 2, NEVER, NEVER])) == NEVER


@pytest.mark.parametrize(
    "steps, wanted",
    [([3, 1, 2], 2), ([4, 1, 2, 3], 2.5), ([1, NEVER, 2], 2), ([1, 2, NEVER, NEVER], NEVER), ([NEVER, NEVER], NEVER)],
)
def test_a_run_that_never_came_is_beyond_the_median(steps, wanted):
    assert censored_median(np.array(steps)) == wanted


def test_the_probability_of_improvement_is_mann_and_whitneys(rng):
    x, y = rng.integers(6, size=9), rng.integers(5, size=7)  # with ties
    wanted = scipy.stats.mannwhitneyu(x, y).statistic / (9 * 7)
    assert probability_of_improvement(x, y) == pytest.approx(wanted)


def test_two_runs_that_never_came_are_even():
    assert probability_of_improvement(np.array([NEVER, 5]), np.array([NEVER, 7])) == (0.5 + 1 + 0 + 0) / 4


def test_a_profile_is_the_fraction_that_is_as_good_as_the_threshold():
    scores, thresholds = np.array([1, 2, 2, NEVER]), np.array([0.5, 2, 3])
    assert statistics.performance_profile(scores, thresholds, "lower").tolist() == [0, 0.75, 0.75]
    assert statistics.performance_profile(scores, thresholds, "higher").tolist() == [1, 0.75, 0.25]
    with pytest.raises(ValueError, match="better='less', want lower or higher"):
        statistics.performance_profile(scores, thresholds, "less")


def test_many_resamples_at_once_are_each_as_alone(rng):
    x, y, thresholds = rng.normal(size=(5, 6)), rng.normal(size=(5, 4)), np.linspace(-1, 1, 3)
    for together, alone in [
        (interquartile_mean(x), [interquartile_mean(row) for row in x]),
        (censored_median(x), [censored_median(row) for row in x]),
        (probability_of_improvement(x, y), [probability_of_improvement(a, b) for a, b in zip(x, y, strict=True)]),
        (
            statistics.performance_profile(x, thresholds, "lower"),
            [statistics.performance_profile(row, thresholds, "lower") for row in x],
        ),
    ]:
        np.testing.assert_allclose(together, alone)


def test_the_bootstrap_interval_is_that_of_all_resamples_there_are(rng):
    scores = np.array([1.0, 4.0, 6.0, 20.0])
    everything = [np.mean(draw) for draw in itertools.product(scores, repeat=4)]
    wanted = np.quantile(everything, [0.1, 0.9], method="inverted_cdf")
    found = bootstrap([scores], lambda x: x.mean(-1), rng, resamples=50_000, confidence=0.8)
    np.testing.assert_allclose(found, wanted, rtol=0.03)


def test_the_bootstrap_interval_is_scipys(rng):
    scores = rng.normal(size=30)
    wanted = scipy.stats.bootstrap([scores], np.mean, method="percentile", n_resamples=20_000, rng=1)
    found = bootstrap([scores], lambda x: x.mean(-1), rng, resamples=20_000)
    np.testing.assert_allclose(found, wanted.confidence_interval, atol=0.01)


def test_runs_are_drawn_from_their_own_stratum_only(rng):
    low, high = bootstrap([np.full(3, 1.0), np.full(5, 9.0)], pooled(lambda x: x.mean(-1)), rng)
    assert low == high == (3 * 1 + 5 * 9) / 8


def test_an_interval_may_end_at_infinity(rng):
    low, high = bootstrap([np.array([10, 20, 30, NEVER])], censored_median, rng)
    assert low == 10 and high == NEVER


def test_the_same_generator_gives_the_same_interval():
    scores = np.random.default_rng(0).normal(size=20)
    one, two, other = (bootstrap([scores], interquartile_mean, np.random.default_rng(s)) for s in (1, 1, 2))
    assert one == two and one != other


def test_a_stratum_without_runs_is_refused(rng):
    with pytest.raises(ValueError, match=r"stratum 1 has shape \(0,\), want \(N,\) with at least one run"):
        bootstrap([np.ones(2), np.ones(0)], pooled(interquartile_mean), rng)
