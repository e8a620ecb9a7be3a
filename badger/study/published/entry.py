"""A published result beside ours: what was measured, by which study, and the verdict."""

from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from badger.study.results import StudyResults
from badger.study.statistics import bootstrap, censored_median, interquartile_mean, probability_of_improvement
from badger.study.tables import SEED

Verdict: TypeAlias = Literal["beaten", "reached", "missed", "not run"]
MIN_RUNS = 3
"""Runs of each arm without which an interval means nothing: no figure is beaten, and no claim is judged."""


class Estimate(NamedTuple):
    """A statistic of the runs of one arm, or of two.

    Args:
        value: interquartile mean of scores, median of steps, or probability of improvement.
        low, high: ends of the 95 % interval, by bootstrap over runs.
        runs: number of runs, of two arms the smaller one.
    """

    value: float
    low: float
    high: float
    runs: int


@dataclass(frozen=True, kw_only=True)
class PublishedResult:
    """A published result, and the study that measures ours.

    Args:
        name: of the entry, for `badger study reproduce NAME`.
        text: what is measured, in words.
        source: paper with place, or where else the figure is from.
        study: name of the study.
        arm: of the study.
        over: another arm: the claim is that `arm` is better; None: `published` is a figure.
        published: the figure; None for a claim.
        measure: the score at the end, or outer steps until the threshold of the study.
        evaluation: name of the evaluation; None: the first one of the study.

    Raises:
        ValueError: neither a figure nor another arm, or both.
    """

    name: str
    text: str
    source: str
    study: str
    arm: str
    over: str | None = None
    published: float | None = None
    measure: Literal["score", "steps"] = "score"
    evaluation: str | None = None

    def __post_init__(self) -> None:
        if (self.over is None) == (self.published is None):
            raise ValueError(f"{self.name!r}: over={self.over}, published={self.published}, want one of both")

    @property
    def arms(self) -> tuple[str, ...]:
        """The arms that it needs."""
        return (self.arm,) if self.over is None else (self.arm, self.over)

    def is_lower_better(self, results: StudyResults) -> bool:
        """Whether less of what is measured is better.

        Args:
            results: of the study.
        """
        return self.measure == "steps" or results.sign(self.arm) > 0

    def estimate(self, results: StudyResults) -> Estimate | None:
        """Ours; None where a run of each arm is missing.

        Args:
            results: of the study.
        """
        values = [self._values(results, arm) for arm in self.arms]
        if not all(len(of_arm) for of_arm in values):
            return None
        rng, runs = np.random.default_rng(SEED), min(map(len, values))
        if self.over is not None:
            sign = -1 if self.is_lower_better(results) else 1
            signed = [sign * of_arm for of_arm in values]
            value = probability_of_improvement(*signed)
            low, high = bootstrap(signed, probability_of_improvement, rng)
        else:
            statistic = censored_median if self.measure == "steps" else interquartile_mean
            value = statistic(values[0])
            low, high = bootstrap(values, statistic, rng)
        return Estimate(float(value), float(low), float(high), runs)

    def verdict(self, results: StudyResults | None) -> Verdict:
        """The verdict on ours.

        `beaten`: of three or more runs the whole interval is better than the published figure. `reached`: ours is at
        least as good. A claim that one arm is better is `reached` where the whole interval of the probability of
        improvement is above one half; it needs three or more runs of each arm.

        Args:
            results: of the study; None: it was not run.
        """
        return "not run" if results is None else self.judge(self.estimate(results), results)

    def judge(self, ours: Estimate | None, results: StudyResults) -> Verdict:
        """The verdict on an estimate.

        Args:
            ours: from `estimate`.
            results: of the study.
        """
        if ours is None:
            return "not run"
        if self.published is None:
            return "not run" if ours.runs < MIN_RUNS else "reached" if ours.low > 0.5 else "missed"
        sign = 1 if self.is_lower_better(results) else -1
        worst = ours.high if sign == 1 else ours.low
        if ours.runs >= MIN_RUNS and sign * worst < sign * self.published:
            return "beaten"
        return "reached" if sign * ours.value <= sign * self.published else "missed"

    def _values(self, results: StudyResults, arm: str) -> np.ndarray:
        """One value for each run; the worst possible one for a run that diverged."""
        if self.measure == "steps":
            return np.array(results.steps_to_threshold(arm), float)
        finals = np.array(results.final_scores(arm, self.evaluation), float)
        return np.where(np.isnan(finals), results.sign(arm) * np.inf, finals)
