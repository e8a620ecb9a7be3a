"""Results of a study as tables: rows of plain values, for CSV files and for the report."""

import itertools
import math
from typing import Any

import numpy as np

from badger.runs.evaluations import Scores
from badger.runs.recorder import MetricsRow
from badger.study.results import StudyResults, TrialResult
from badger.study.statistics import bootstrap, censored_median, interquartile_mean, probability_of_improvement, wilson

SEED = 0  # of the bootstrap, so that a report is reproducible


def mean_and_sem(values: list[float]) -> tuple[float, float]:
    """Mean over runs and its standard error, which is NaN for a single run.

    Args:
        values: one for each run.
    """
    if not values:
        return math.nan, math.nan
    sem = float(np.std(values, ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return float(np.mean(values)), sem


def summary(results: StudyResults) -> list[MetricsRow]:
    """One row for each arm: runs that reached the threshold, steps until then, final score, and training time.

    Args:
        results: of a study.
    """
    return [{"arm": arm, "runs": len(results.trials(arm)), **_arm_columns(results, arm)} for arm in results.arms]


def _arm_columns(results: StudyResults, arm: str) -> MetricsRow:
    outcomes, steps = results.trials(arm), np.array(results.steps_to_threshold(arm))
    row: MetricsRow = {"diverged": sum(outcome.diverged for outcome in outcomes)}
    if not outcomes:
        return row
    if results.threshold is not None:
        reached = [outcome.threshold_reached[1] for outcome in outcomes if outcome.threshold_reached]
        row |= {"reached": len(reached), **_interval_columns("reached", wilson(len(reached), len(outcomes)))}
        row |= {"steps": float(censored_median(steps)), **_interval("steps", [steps], censored_median)}
        seconds = np.array(
            [outcome.threshold_reached[1] if outcome.threshold_reached else math.inf for outcome in outcomes]
        )
        row |= {"seconds_to_threshold": float(censored_median(seconds))}
    if arm in results.gates:
        median = float(np.median(_signed_scores(results, arm)))  # lower is better; infinite for a run that diverged
        sign = results.sign(arm)
        row |= {"median": sign * median + 0.0, "gate": results.gates[arm], "met": median <= sign * results.gates[arm]}
    finals = [value for value in results.final_scores(arm) if not math.isnan(value)]
    if finals:
        mean, sem = mean_and_sem(finals)
        row |= {"score": mean, "score_sem": sem, "iqm": float(interquartile_mean(np.array(finals)))}
        row |= _interval("iqm", [np.array(finals)], interquartile_mean)
    return row | {"budget": max(outcome.steps for outcome in outcomes), "seconds": _seconds(outcomes)}


def _seconds(outcomes: list[TrialResult]) -> float:
    return float(np.median([outcome.seconds for outcome in outcomes]))


def _interval(name: str, strata: list[np.ndarray], statistic: Any) -> MetricsRow:
    return _interval_columns(name, bootstrap(strata, statistic, np.random.default_rng(SEED)))


def _interval_columns(name: str, interval: tuple[Any, Any]) -> MetricsRow:
    return {f"{name}_low": float(interval[0]), f"{name}_high": float(interval[1])}


def improvements(results: StudyResults) -> list[MetricsRow]:
    """One row for each pair of arms: probability of improvement of the later arm over the earlier.

    Args:
        results: of a study.
    """
    rows = []
    for baseline, arm in itertools.combinations([arm for arm in results.arms if results.trials(arm)], 2):
        row: MetricsRow = {"arm": arm, "over": baseline}
        if results.threshold is not None:
            row |= _improvement(
                "steps", np.array(results.steps_to_threshold(arm)), np.array(results.steps_to_threshold(baseline))
            )
        row |= _improvement("score", *(_signed_scores(results, name) for name in (arm, baseline)))
        rows.append(row)
    return rows


def _improvement(name: str, values: np.ndarray, baseline: np.ndarray) -> MetricsRow:
    """Probability of improvement with its interval; lower values are better."""
    row = {name: float(probability_of_improvement(baseline, values))}
    return row | _interval(name, [baseline, values], probability_of_improvement)


def _signed_scores(results: StudyResults, arm: str) -> np.ndarray:
    """Final scores, negated if necessary so that lower is better; infinite for a run that diverged."""
    finals = np.array(results.final_scores(arm)) * results.sign(arm)
    return np.where(np.isnan(finals), math.inf, finals)


def milestone_rows(results: StudyResults) -> list[MetricsRow]:
    """One row for each arm, evaluation and milestone: the score there.

    Args:
        results: of a study.
    """
    rows = []
    for arm, name in itertools.product(results.arms, results.evaluations):
        for step in sorted({step for outcome in results.trials(arm) for step in outcome.scores}):
            scores = [outcome.scores[step].get(name, {}) for outcome in results.trials(arm) if step in outcome.scores]
            means = [run_scores[results.score]["mean"] for run_scores in scores if results.score in run_scores]
            values = [mean for mean in means if mean is not None]
            mean, sem = mean_and_sem(values)
            row = {"arm": arm, "evaluation": name, "step": step, "runs": len(values)}
            rows.append({**row, "score": mean, "score_sem": sem})
    return rows


def runs(results: StudyResults) -> list[MetricsRow]:
    """One row for each run, milestone and evaluation, as in runs.csv.

    Args:
        results: of a study.
    """
    return [
        _row(outcome, step, name, scores)
        for outcome in results.outcomes
        for step, evaluations in outcome.scores.items()
        for name, scores in evaluations.items()
    ]


def _row(outcome: TrialResult, step: int, name: str, scores: Scores) -> MetricsRow:
    reached = outcome.threshold_reached or (None, None)
    row: MetricsRow = {"arm": outcome.arm, "seed": outcome.seed, "step": step, "evaluation": name}
    for score, statistics in scores.items():
        row |= {score: statistics["mean"], f"{score}_sem": statistics["sem"]}
    row |= {"moving_average": dict(zip(*outcome.curve, strict=True)).get(step), "steps_to_threshold": reached[0]}
    return row | {
        "diverged": outcome.diverged, "total_steps": outcome.steps,
        "seconds_to_threshold": reached[1], "seconds": outcome.seconds,
    }  # fmt: skip
