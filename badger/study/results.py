"""What runs have shown, as a report takes it: read from their folders alone."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from badger.runs.milestones import first_crossing
from badger.runs.recorder import MetricsRow, read_metrics
from badger.study.process_pool import Failure
from badger.study.trial import Scores, Trial, read_result


@dataclass(frozen=True)
class TrialResult:
    """One run's.

    steps, seconds: of training so far. budget: outer steps that it should make. curve: outer steps, and the moving
    average of the score there. threshold_reached: outer step and seconds of training when that was first better than the
    threshold.
    scores: outer step -> evaluation -> score. diverged: its loss was not finite in the end.
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
        """At the end, by name; none of a run that diverged."""
        return {} if self.diverged or not self.scores else self.scores[max(self.scores)]


@dataclass(frozen=True)
class StudyResults:
    """What a report is made of. `outcomes` hold finished runs and those that have diverged, which is a result, too;
    `missing` tells by name why others are not there; `notes` what else there is to tell of the episodes."""

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

    def trials(self, arm: str) -> list[TrialResult]:
        return [outcome for outcome in self.outcomes if outcome.arm == arm]

    @cached_property
    def evaluations(self) -> list[str]:
        """Names, the one that the summary tells of first."""
        found = (name for outcome in self.outcomes for scores in outcome.scores.values() for name in scores)
        return list(dict.fromkeys(found))

    def final_scores(self, arm: str) -> list[float]:
        """The mean score at the end of each run; NaN where it has diverged."""
        scores = [next(iter(outcome.evaluations.values()), {}) for outcome in self.trials(arm)]
        means = [each.get(self.score, {}).get("mean") for each in scores]
        return [math.nan if mean is None else mean for mean in means]

    def steps_to_threshold(self, arm: str) -> list[float]:
        """To the threshold; infinity: not reached."""
        return [outcome.threshold_reached[0] if outcome.threshold_reached else math.inf for outcome in self.trials(arm)]


def make_trial_result(
    rows: list[MetricsRow], score: str, better: str, threshold: float | None, *, column: str | None = None, **known: Any
) -> TrialResult:
    """Of a run with these metrics. column: of a member of a population, such as final_error/seed_3."""
    column = column or score
    due = [row for row in rows if row.get(f"{column}_ema") is not None]
    first = None if threshold is None else first_crossing(due, column, threshold, better)
    return TrialResult(
        steps=rows[-1]["step"] if rows else 0,
        seconds=rows[-1]["seconds"] if rows else 0.0,
        curve=([row["step"] for row in due], [row[f"{column}_ema"] for row in due]),
        threshold_reached=None if first is None else (first["step"], first["seconds"]),
        **known,
    )


def collect_results(jobs: Sequence[Trial], failures: dict[str, Failure]) -> StudyResults:
    """What a study's runs have shown, all ended; a study has one job at least."""
    study, outcomes, missing = jobs[0].study, [], {}
    about: dict[str, Any] = {}
    notes: dict[str, None] = {}
    for job in jobs:
        failure, found = failures.get(job.name), read_result(job.folder)
        about = about or found or {}
        notes |= dict.fromkeys((found or {}).get("notes", []))
        diverged = failure is not None and failure.kind == "Diverged"
        if failure is not None:
            missing[job.name] = f"{failure.kind}: {failure.text}"
        if found is None or (failure is not None and not diverged):
            continue
        known = {"arm": job.arm, "seed": job.seed, "budget": found["milestones"][-1], "diverged": diverged}
        scores = {int(step): each for step, each in found["scores"].items()}
        rows = read_metrics(job.folder)
        outcomes.append(make_trial_result(rows, study.score, found["better"], study.threshold, scores=scores, **known))
    return StudyResults(
        name=study.name,
        claim=study.claim,
        arms=list(dict.fromkeys(job.arm for job in jobs)),
        score=study.score,
        better=about.get("better", "lower"),
        threshold=study.threshold,
        references=about.get("references", {}).get(study.score, {}),
        outcomes=outcomes,
        missing=missing,
        notes=list(notes),
    )
