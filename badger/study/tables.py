"""Evidence as tables of numbers: rows of plain values, for CSV files and for the report."""

import itertools
import math
from typing import Any

import numpy as np

from badger.runs.recorder import MetricsRow
from badger.study.results import StudyResults, TrialResult
from badger.study.statistics import bootstrap, censored_median, interquartile_mean, probability_of_improvement, wilson
from badger.study.trial import Scores

SEED = 0  # of the bootstrap: the same runs give the same report


def mean_and_sem(values: list[float]) -> tuple[float, float]:
    """Over runs; the standard error of a single one is NaN."""
    if not values:
        return math.nan, math.nan
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return float(np.mean(values)), error


def summary(evidence: StudyResults) -> list[MetricsRow]:
    """A row an arm: how many reached the threshold and when, the score at the end, and the time it took."""
    return [{"arm": arm, "runs": len(evidence.trials(arm)), **_summarised(evidence, arm)} for arm in evidence.arms]


def _summarised(evidence: StudyResults, arm: str) -> MetricsRow:
    outcomes, steps = evidence.trials(arm), np.array(evidence.steps_to_threshold(arm))
    row: MetricsRow = {"diverged": sum(outcome.diverged for outcome in outcomes)}
    if not outcomes:
        return row
    if evidence.threshold is not None:
        reached = [outcome.threshold_reached[1] for outcome in outcomes if outcome.threshold_reached]
        row |= {"reached": len(reached), **_interval_columns("reached", wilson(len(reached), len(outcomes)))}
        row |= {"steps": float(censored_median(steps)), **_interval("steps", [steps], censored_median)}
        in_time = np.array(
            [outcome.threshold_reached[1] if outcome.threshold_reached else math.inf for outcome in outcomes]
        )
        row |= {"seconds_to_threshold": float(censored_median(in_time))}
    finals = [value for value in evidence.final_scores(arm) if not math.isnan(value)]
    if finals:
        mean, error = mean_and_sem(finals)
        row |= {"score": mean, "score_se": error, "iqm": float(interquartile_mean(np.array(finals)))}
        row |= _interval("iqm", [np.array(finals)], interquartile_mean)
    return row | {"budget": max(outcome.steps for outcome in outcomes), "seconds": _seconds(outcomes)}


def _seconds(outcomes: list[TrialResult]) -> float:
    return float(np.median([outcome.seconds for outcome in outcomes]))


def _interval(name: str, strata: list[np.ndarray], statistic: Any) -> MetricsRow:
    return _interval_columns(name, bootstrap(strata, statistic, np.random.default_rng(SEED)))


def _interval_columns(name: str, interval: tuple[Any, Any]) -> MetricsRow:
    return {f"{name}_low": float(interval[0]), f"{name}_high": float(interval[1])}


def improvements(evidence: StudyResults) -> list[MetricsRow]:
    """A row a pair of arms, the later one over the earlier: how probably a run of the one beats one of the other."""
    rows = []
    for other, one in itertools.combinations([arm for arm in evidence.arms if evidence.trials(arm)], 2):
        row: MetricsRow = {"arm": one, "over": other}
        if evidence.threshold is not None:
            row |= _improved(
                "steps", np.array(evidence.steps_to_threshold(one)), np.array(evidence.steps_to_threshold(other))
            )
        row |= _improved("score", *(_signed_scores(evidence, arm) for arm in (one, other)))
        rows.append(row)
    return rows


def _improved(name: str, one: np.ndarray, other: np.ndarray) -> MetricsRow:
    """Less is better."""
    row = {name: float(probability_of_improvement(other, one))}
    return row | _interval(name, [other, one], probability_of_improvement)


def _signed_scores(evidence: StudyResults, arm: str) -> np.ndarray:
    """Final scores with the sign that makes less better; a run that diverged is worse than any other."""
    finals = np.array(evidence.final_scores(arm)) * (1 if evidence.better == "lower" else -1)
    return np.where(np.isnan(finals), math.inf, finals)


def milestone_rows(evidence: StudyResults) -> list[MetricsRow]:
    """A row an arm, evaluation and outer step: the score there."""
    rows = []
    for arm, name in itertools.product(evidence.arms, evidence.evaluations):
        for step in sorted({step for outcome in evidence.trials(arm) for step in outcome.scores}):
            here = [outcome.scores[step].get(name, {}) for outcome in evidence.trials(arm) if step in outcome.scores]
            means = [scores[evidence.score]["mean"] for scores in here if evidence.score in scores]
            values = [mean for mean in means if mean is not None]
            mean, error = mean_and_sem(values)
            row = {"arm": arm, "evaluation": name, "step": step, "runs": len(values)}
            rows.append({**row, "score": mean, "score_se": error})
    return rows


def runs(evidence: StudyResults) -> list[MetricsRow]:
    """A row a run, milestone and evaluation."""
    return [
        _row(outcome, step, name, scores)
        for outcome in evidence.outcomes
        for step, evaluations in outcome.scores.items()
        for name, scores in evaluations.items()
    ]


def _row(outcome: TrialResult, step: int, name: str, scores: Scores) -> MetricsRow:
    reached = outcome.threshold_reached or (None, None)
    row: MetricsRow = {"arm": outcome.arm, "seed": outcome.seed, "step": step, "evaluation": name}
    for score, told in scores.items():
        row |= {score: told["mean"], f"{score}_se": told["sem"]}
    row |= {"moving_average": dict(zip(*outcome.curve, strict=True)).get(step), "steps_to_threshold": reached[0]}
    return row | {
        "diverged": outcome.diverged, "steps_in_all": outcome.steps,
        "seconds_to_threshold": reached[1], "seconds": outcome.seconds,
    }  # fmt: skip
