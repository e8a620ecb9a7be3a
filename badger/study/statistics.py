"""Statistics of few runs, with confidence intervals, after Agarwal et al. 2021.

All are pure functions of NumPy arrays. Runs are the last axis, so that one call computes a statistic of many resamples.
A run that did not reach a threshold is infinite (censored); no function returns NaN because of it.

Shapes: R resample, N run.

Source: Agarwal et al. 2021, "Deep reinforcement learning at the edge of the statistical precipice".
"""

from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray
Numbers: TypeAlias = Any  # an array, or a number where runs are the only axis
Interval: TypeAlias = tuple[float, float]


def wilson(successes: int, runs: int, confidence: float = 0.95) -> Interval:
    """Wilson's confidence interval of a fraction, which has a positive width at 0 and 1, too (Wilson 1927).

    Args:
        successes: number of successful runs.
        runs: number of runs.
        confidence: of the interval.

    Raises:
        ValueError: no runs, or more successes than runs.
    """
    if not 0 <= successes <= runs or runs < 1:
        raise ValueError(f"{successes} successes in {runs} runs, want at least 1 run, and 0 to all of them")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    p, scale = successes / runs, 1 + z**2 / runs
    center = (p + z**2 / (2 * runs)) / scale
    half = z / scale * (p * (1 - p) / runs + z**2 / (4 * runs**2)) ** 0.5
    low = 0.0 if successes == 0 else center - half  # exactly 0 and 1, without rounding
    high = 1.0 if successes == runs else center + half
    return low, high


def interquartile_mean(scores: Array) -> Numbers:
    """Interquartile mean, (..., N) -> (...): more robust than the mean, more efficient than the median.

    A quarter of the runs is cut off at each end. Where N / 4 is not an integer, runs at the borders have a fractional
    weight, so that the total weight is N / 2 (scipy.stats.trim_mean cuts off whole runs only).

    Args:
        scores: one for each run.
    """
    ranked = np.sort(np.asarray(scores, float), -1)
    runs = ranked.shape[-1]
    rank = np.arange(runs)
    weight = np.clip(np.minimum(rank + 1, 0.75 * runs) - np.maximum(rank, 0.25 * runs), 0, 1)
    return np.where(weight > 0, ranked * np.where(weight > 0, weight, 1), 0).sum(-1) / weight.sum()


def censored_median(steps: Array) -> Numbers:
    """Median with censored values, (..., N) -> (...); infinite where at least half of the runs are censored.

    Args:
        steps: steps to a threshold; infinity: not within the budget.
    """
    ranked = np.sort(np.asarray(steps, float), -1)
    runs = ranked.shape[-1]
    return (ranked[..., (runs - 1) // 2] + ranked[..., runs // 2]) / 2


def probability_of_improvement(x: Array, y: Array) -> Numbers:
    """Probability of improvement P(X > Y), ties counted half: (..., N), (..., N') -> (...).

    This is the U statistic of Mann and Whitney (1947) divided by N N'. For several tasks, average over tasks.

    Args:
        x: runs of X.
        y: runs of Y.
    """
    x, y = np.asarray(x, float)[..., :, None], np.asarray(y, float)[..., None, :]
    return ((x > y) + 0.5 * (x == y)).mean((-1, -2))


def performance_profile(scores: Array, thresholds: Array, better: str) -> Numbers:
    """Performance profile: fraction of runs at least as good as each threshold, (..., N), (K,) -> (..., K).

    Args:
        scores: one for each run.
        thresholds: K of them.
        better: "lower" or "higher".

    Raises:
        ValueError: `better` is neither.

    Source: Dolan and More 2002; Agarwal et al. 2021, section 4.2.
    """
    if better not in ("lower", "higher"):
        raise ValueError(f"better={better!r}, want lower or higher")
    scores, thresholds = np.asarray(scores, float)[..., None, :], np.asarray(thresholds, float)[:, None]
    return (scores <= thresholds if better == "lower" else scores >= thresholds).mean(-1)


def bootstrap(
    strata: Sequence[Array],
    statistic: Callable[..., Numbers],
    rng: np.random.Generator,
    *,
    resamples: int = 2000,
    confidence: float = 0.95,
) -> tuple[Numbers, Numbers]:
    """Stratified bootstrap percentile interval of a statistic: (low, high).

    The runs of each stratum (a task or an arm) are resampled with replacement within the stratum. With ten runs such
    intervals are slightly too narrow; with two or three they are not meaningful.

    Args:
        strata: for each stratum its runs, (N,).
        statistic: called with the resampled strata, each (R, N); returns (R, ...).
        rng: draws the resamples.
        resamples: R.
        confidence: of the interval.

    Raises:
        ValueError: a stratum has no runs.

    Source: Efron 1979; Agarwal et al. 2021.
    """
    strata = [np.asarray(stratum, float) for stratum in strata]
    for i, stratum in enumerate(strata):
        if stratum.ndim != 1 or not len(stratum):
            raise ValueError(f"stratum {i} has shape {stratum.shape}, want (N,) with at least one run")
    resampled = [stratum[rng.integers(len(stratum), size=(resamples, len(stratum)))] for stratum in strata]
    quantiles = [(1 - confidence) / 2, (1 + confidence) / 2]
    # inverted_cdf: returns one of the values; interpolation between two infinite values would be NaN
    low, high = np.quantile(statistic(*resampled), quantiles, axis=0, method="inverted_cdf")
    return low, high


def pooled(statistic: Callable[[Array], Numbers]) -> Callable[..., Numbers]:
    """A statistic of the runs of all strata together, for `bootstrap`.

    Args:
        statistic: of one array of runs, (..., N) -> (...).
    """
    return lambda *strata: statistic(np.concatenate(strata, -1))
