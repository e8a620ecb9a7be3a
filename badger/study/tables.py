"""Evidence as tables of numbers: rows of plain values, for CSV files and for the report."""

import itertools
import math
from typing import Any

import numpy as np

from badger.runs.recorder import Row
from badger.study.results import Evidence, Outcome
from badger.study.statistics import bootstrap, censored_median, interquartile_mean, probability_of_improvement, wilson
from badger.study.trial import Scores

SEED = 0  # of the bootstrap: the same runs give the same report


def mean_and_error(values: list[float]) -> tuple[float, float]:
    """Over runs; the standard error of a single one is NaN."""
    if not values:
        return math.nan, math.nan
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return float(np.mean(values)), error


def summary(evidence: Evidence) -> list[Row]:
    """A row an arm: how many reached the threshold and when, the score at the end, and the time it took."""
    return [{"arm": arm, "runs": len(evidence.of(arm)), **_summarised(evidence, arm)} for arm in evidence.arms]


def _summarised(evidence: Evidence, arm: str) -> Row:
    outcomes, steps = evidence.of(arm), np.array(evidence.steps(arm))
    row: Row = {"diverged": sum(outcome.diverged for outcome in outcomes)}
    if not outcomes:
        return row
    if evidence.threshold is not None:
        reached = [outcome.reached[1] for outcome in outcomes if outcome.reached]
        row |= {"reached": len(reached), **_between("reached", wilson(len(reached), len(outcomes)))}
        row |= {"steps": float(censored_median(steps)), **_interval("steps", [steps], censored_median)}
        in_time = np.array([outcome.reached[1] if outcome.reached else math.inf for outcome in outcomes])
        row |= {"seconds_to_threshold": float(censored_median(in_time))}
    finals = [value for value in evidence.finals(arm) if not math.isnan(value)]
    if finals:
        mean, error = mean_and_error(finals)
        row |= {"score": mean, "score_se": error, "iqm": float(interquartile_mean(np.array(finals)))}
        row |= _interval("iqm", [np.array(finals)], interquartile_mean)
    return row | {"budget": max(outcome.steps for outcome in outcomes), "seconds": _seconds(outcomes)}


def _seconds(outcomes: list[Outcome]) -> float:
    return float(np.median([outcome.seconds for outcome in outcomes]))


def _interval(name: str, strata: list[np.ndarray], statistic: Any) -> Row:
    return _between(name, bootstrap(strata, statistic, np.random.default_rng(SEED)))


def _between(name: str, interval: tuple[Any, Any]) -> Row:
    return {f"{name}_low": float(interval[0]), f"{name}_high": float(interval[1])}


def improvements(evidence: Evidence) -> list[Row]:
    """A row a pair of arms, the later one over the earlier: how probably a run of the one beats one of the other."""
    rows = []
    for other, one in itertools.combinations([arm for arm in evidence.arms if evidence.of(arm)], 2):
        row: Row = {"arm": one, "over": other}
        if evidence.threshold is not None:
            row |= _improved("steps", np.array(evidence.steps(one)), np.array(evidence.steps(other)))
        row |= _improved("score", *(_badness(evidence, arm) for arm in (one, other)))
        rows.append(row)
    return rows


def _improved(name: str, one: np.ndarray, other: np.ndarray) -> Row:
    """Less is better."""
    row = {name: float(probability_of_improvement(other, one))}
    return row | _interval(name, [other, one], probability_of_improvement)


def _badness(evidence: Evidence, arm: str) -> np.ndarray:
    """Final scores with the sign that makes less better; a run that diverged is worse than any other."""
    finals = np.array(evidence.finals(arm)) * (1 if evidence.better == "lower" else -1)
    return np.where(np.isnan(finals), math.inf, finals)


def milestones(evidence: Evidence) -> list[Row]:
    """A row an arm, evaluation and outer step: the score there."""
    rows = []
    for arm, name in itertools.product(evidence.arms, evidence.evaluations):
        for step in sorted({step for outcome in evidence.of(arm) for step in outcome.scores}):
            here = [outcome.scores[step].get(name, {}) for outcome in evidence.of(arm) if step in outcome.scores]
            means = [scores[evidence.score]["mean"] for scores in here if evidence.score in scores]
            values = [mean for mean in means if mean is not None]
            mean, error = mean_and_error(values)
            row = {"arm": arm, "evaluation": name, "step": step, "runs": len(values)}
            rows.append({**row, "score": mean, "score_se": error})
    return rows


def runs(evidence: Evidence) -> list[Row]:
    """A row a run, milestone and evaluation."""
    return [
        _row(outcome, step, name, scores)
        for outcome in evidence.outcomes
        for step, evaluations in outcome.scores.items()
        for name, scores in evaluations.items()
    ]


def _row(outcome: Outcome, step: int, name: str, scores: Scores) -> Row:
    reached = outcome.reached or (None, None)
    row: Row = {"arm": outcome.arm, "seed": outcome.seed, "step": step, "evaluation": name}
    for score, told in scores.items():
        row |= {score: told["mean"], f"{score}_se": told["error"]}
    row |= {"moving_average": dict(zip(*outcome.curve, strict=True)).get(step), "steps_to_threshold": reached[0]}
    return row | {
        "diverged": outcome.diverged, "steps_in_all": outcome.steps,
        "seconds_to_threshold": reached[1], "seconds": outcome.seconds,
    }  # fmt: skip
