"""Results of the runs of a study, read from their folders."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from badger.runs.evaluations import Scores
from badger.runs.milestones import first_better, first_crossing
from badger.runs.recorder import MetricsRow, read_metrics
from badger.study.execution import Failure
from badger.study.trial import Trial, read_result


@dataclass(frozen=True)
class TrialResult:
    """Results of one run.

    Args:
        arm: name of its arm.
        seed: its seed.
        steps: outer steps of training so far.
        budget: outer steps of the whole training.
        seconds: of training so far.
        curve: outer steps, and the moving average of the score there, or the metric of `Study.curve`.
        threshold_reached: outer step and seconds of training when the curve first crossed the threshold.
        scores: outer step -> evaluation -> score -> mean and standard error.
        diverged: the loss was not finite at the end.
    """

    arm: str
    seed: int
    steps: int
    budget: int
    seconds: float
    curve: tuple[list[int], list[float]]
    threshold_reached: tuple[int, float] | None
    scores: dict[int, dict[str, Scores]]
    diverged: bool = False

    @cached_property
    def evaluations(self) -> dict[str, Scores]:
        """Final scores by evaluation; empty where the run diverged."""
        return {} if self.diverged or not self.scores else self.scores[max(self.scores)]


@dataclass(frozen=True)
class StudyResults:
    """Results of a study, from which the report is made.

    Args:
        name: of the study.
        claim: one sentence that the study tests.
        arms: names, in the order of the report.
        score: name of the score by which arms are compared.
        better: "lower" or "higher".
        threshold: of the curve; None: not reported.
        references: reference scores by name.
        outcomes: results of finished runs and of those that diverged.
        missing: by run, the reason why it has not finished.
        notes: further facts about the episodes, as sentences.
        gates: as in `Study`.
        curve: as in `Study`.
        better_in: by arm, what is better there, where arms differ.
    """

    name: str
    claim: str
    arms: Sequence[str]
    score: str
    better: str
    threshold: float | None
    references: dict[str, float]
    outcomes: list[TrialResult]
    missing: dict[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    gates: Mapping[str, float] = field(default_factory=dict)
    curve: str | None = None
    better_in: Mapping[str, str] = field(default_factory=dict)

    def sign(self, arm: str) -> int:
        """1 where lower scores of an arm are better, else -1.

        Args:
            arm: its name.
        """
        return 1 if self.better_in.get(arm, self.better) == "lower" else -1

    def trials(self, arm: str) -> list[TrialResult]:
        """Results of the runs of an arm.

        Args:
            arm: its name.
        """
        return [outcome for outcome in self.outcomes if outcome.arm == arm]

    @cached_property
    def evaluations(self) -> list[str]:
        """Names of the evaluations; the summary reports the first one."""
        names = (name for outcome in self.outcomes for scores in outcome.scores.values() for name in scores)
        return list(dict.fromkeys(names))

    def final_scores(self, arm: str, evaluation: str | None = None) -> list[float]:
        """Mean final score of each run; NaN where it diverged.

        Args:
            arm: its name.
            evaluation: its name; None: the first one.
        """
        name = next(iter(self.evaluations), "") if evaluation is None else evaluation
        scores = [outcome.evaluations.get(name, {}) for outcome in self.trials(arm)]
        means = [run_scores.get(self.score, {}).get("mean") for run_scores in scores]
        return [math.nan if mean is None else mean for mean in means]

    def steps_to_threshold(self, arm: str) -> list[float]:
        """Outer steps to the threshold for each run; infinity where it was not reached.

        Args:
            arm: its name.
        """
        return [outcome.threshold_reached[0] if outcome.threshold_reached else math.inf for outcome in self.trials(arm)]


def make_trial_result(
    rows: list[MetricsRow],
    score: str,
    better: str,
    threshold: float | None,
    *,
    column: str | None = None,
    curve: str | None = None,
    **fields: Any,
) -> TrialResult:
    """Result of a run from its metrics.

    Args:
        rows: of metrics.jsonl.
        score: name of the score.
        better: "lower" or "higher".
        threshold: of the curve.
        column: of a member of a population, such as final_error/seed_3.
        curve: as in `Study`.
        fields: the other fields of the result.
    """
    column = column or score
    metric = f"{column}_ema" if curve is None else curve
    scored_rows = [row for row in rows if row.get(metric) is not None]
    if threshold is None:
        first = None
    elif curve is None:
        first = first_crossing(scored_rows, column, threshold, better)
    else:
        first = first_better(scored_rows, curve, threshold, better)
    return TrialResult(
        steps=rows[-1]["step"] if rows else 0,
        seconds=rows[-1].get("seconds", 0.0) if rows else 0.0,
        curve=([row["step"] for row in scored_rows], [row[metric] for row in scored_rows]),
        threshold_reached=None if first is None else (first["step"], first.get("seconds", 0.0)),
        **fields,
    )


def collect_results(jobs: Sequence[Trial], failures: dict[str, Failure]) -> StudyResults:
    """Results of a study whose runs have all ended.

    Args:
        jobs: all runs of the study, at least one.
        failures: by name of the run.
    """
    study, outcomes, missing = jobs[0].study, [], {}
    description: dict[str, Any] = {}
    better_in: dict[str, str] = {}
    notes: dict[str, None] = {}
    for job in jobs:
        failure, result = failures.get(job.name), read_result(job.folder)
        description = description or result or {}
        better_in |= {job.arm: result["better"]} if result else {}
        notes |= dict.fromkeys((result or {}).get("notes", []))
        diverged = failure is not None and failure.kind == "Diverged"
        if failure is not None:
            missing[job.name] = f"{failure.kind}: {failure.text}"
        if result is None or (failure is not None and not diverged):
            continue
        fields = {"arm": job.arm, "seed": job.seed, "budget": result["milestones"][-1], "diverged": diverged}
        scores = {int(step): evaluations for step, evaluations in result["scores"].items()}
        fields |= {"scores": scores, "curve": study.curve}
        outcomes.append(
            make_trial_result(read_metrics(job.folder), study.score, result["better"], study.threshold, **fields)
        )
    return StudyResults(
        name=study.name,
        claim=study.claim,
        arms=list(dict.fromkeys(job.arm for job in jobs)),
        score=study.score,
        better=description.get("better", "lower"),
        threshold=study.threshold,
        references={} if study.gates else description.get("references", {}).get(study.score, {}),  # one for all arms
        outcomes=outcomes,
        missing=missing,
        notes=list(notes),
        gates=study.gates,
        curve=study.curve,
        better_in=better_in if len(set(better_in.values())) > 1 else {},
    )
