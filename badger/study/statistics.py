"""What a few runs say, with error bars: pure functions of numbers, after Agarwal et al. 2021, "Deep reinforcement
learning at the edge of the statistical precipice".

Runs are the last axis throughout, so that a statistic of many resamples at once is one call. A run that never got there
counts as infinity: nothing here does arithmetic with it where that would give NaN.

Shapes: R resample, N run.
"""

from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray
Numbers: TypeAlias = Any  # an array, or a number where the runs were the only axis
Interval: TypeAlias = tuple[float, float]


def wilson(successes: int, runs: int, confidence: float = 0.95) -> Interval:
    """Interval of a fraction by inverting the score test (Wilson 1927): honest also at 0 and 1, where +- s.e. has no
    width.

    Raises:
        ValueError: no runs, or more successes than runs.
    """
    if not 0 <= successes <= runs or runs < 1:
        raise ValueError(f"{successes} successes in {runs} runs, want at least 1 run, and 0 to all of them")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    p, scale = successes / runs, 1 + z**2 / runs
    centre = (p + z**2 / (2 * runs)) / scale
    half = z / scale * (p * (1 - p) / runs + z**2 / (4 * runs**2)) ** 0.5
    low = 0.0 if successes == 0 else centre - half  # exactly, where rounding would miss it
    high = 1.0 if successes == runs else centre + half
    return low, high


def interquartile_mean(scores: Array) -> Numbers:
    """Mean of the middle half, (..., N) -> (...): more robust than the mean, less wasteful than the median.

    A quarter of the runs is cut off at either end. Where N / 4 is no whole number the run on the border counts in part,
    so that exactly N / 2 runs' worth of weight is left (scipy.stats.trim_mean would cut off whole runs only).
    """
    ranked = np.sort(np.asarray(scores, float), -1)
    runs = ranked.shape[-1]
    place = np.arange(runs)
    weight = np.clip(np.minimum(place + 1, 0.75 * runs) - np.maximum(place, 0.25 * runs), 0, 1)
    return np.where(weight > 0, ranked * np.where(weight > 0, weight, 1), 0).sum(-1) / weight.sum()


def censored_median(steps: Array) -> Numbers:
    """Median where infinity stands for "not within the budget", (..., N) -> (...); infinite where half never came."""
    ranked = np.sort(np.asarray(steps, float), -1)
    runs = ranked.shape[-1]
    return (ranked[..., (runs - 1) // 2] + ranked[..., runs // 2]) / 2


def probability_of_improvement(x: Array, y: Array) -> Numbers:
    """P(X > Y) of a run of X and one of Y drawn at random, a tie counting half: (..., N), (..., N') -> (...).

    This is Mann and Whitney's U divided by N N' (1947). Over several tasks, take the mean of each task's.
    """
    x, y = np.asarray(x, float)[..., :, None], np.asarray(y, float)[..., None, :]
    return ((x > y) + 0.5 * (x == y)).mean((-1, -2))


def performance_profile(scores: Array, thresholds: Array, better: str) -> Numbers:
    """Fraction of runs whose score is better than each threshold or equal to it, (..., N), (K,) -> (..., K)
    (Dolan and More 2002; Agarwal et al. 2021, section 4.2).

    better: "lower" or "higher".
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
    """Stratified percentile interval: the runs of each stratum (a task, an arm) are drawn anew, with replacement and
    from themselves only; low and high are percentiles of the statistic over resamples (Efron 1979; Agarwal et al.
    2021).

    With some ten runs such intervals are too narrow by a little; with two or three they say next to nothing.

    Args:
        strata: of each stratum its runs, (N,).
        statistic: takes the resampled strata, each (R, N), as its arguments, and gives (R, ...).

    Raises:
        ValueError: a stratum without runs.
    """
    strata = [np.asarray(stratum, float) for stratum in strata]
    for i, stratum in enumerate(strata):
        if stratum.ndim != 1 or not len(stratum):
            raise ValueError(f"stratum {i} has shape {stratum.shape}, want (N,) with a run at least")
    drawn = [stratum[rng.integers(len(stratum), size=(resamples, len(stratum)))] for stratum in strata]
    ends = [(1 - confidence) / 2, (1 + confidence) / 2]
    # a percentile that is one of the values, not between two: infinity minus infinity is no number
    low, high = np.quantile(statistic(*drawn), ends, axis=0, method="inverted_cdf")
    return low, high


def pooled(statistic: Callable[[Array], Numbers]) -> Callable[..., Numbers]:
    """The statistic of all strata's runs together, for `bootstrap`."""
    return lambda *strata: statistic(np.concatenate(strata, -1))
