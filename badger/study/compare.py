"""Evidence from any run folders: arms are the runs that differ in nothing but their seed."""

import itertools
import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from badger.evaluation.evaluate import cap_episodes
from badger.learners.population import member_learners
from badger.recipes.build import load_run
from badger.runs.recorder import read_metrics
from badger.runs.run import Run
from badger.study.results import StudyResults, TrialResult, make_trial_result
from badger.study.trial import evaluate_trial, read_result

EPISODES, MAX_TOTAL_EXPERTS = 1024, 2**17  # of an evaluation; and experts in them, at most


def compare_runs(
    folders: Sequence[str | Path],
    threshold: float | None = None,
    episodes: int | None = None,
    trusted: Collection[str] = (),
) -> StudyResults:
    """What these runs have shown, finished or not; nothing is written into their folders.

    A run of a study was evaluated by it. Any other is evaluated here as of its last checkpoint, and a population's
    members one by one.

    trusted: modules whose code the runs may name, see `badger.load_run`.

    Raises:
        ValueError: no runs, two that are the same, or runs that are judged by different scores.
    """
    if not folders:
        raise ValueError("no runs to compare, want the folder of one at least")
    runs = {Path(folder): load_run(folder, trusted=trusted) for folder in folders}
    task = next(iter(runs.values())).learner.task
    for folder, run in runs.items():
        if run.learner.task.score != task.score:
            raise ValueError(f"{folder} is judged by {run.learner.task.score}, want {task.score}, as of the first run")
    outcomes, missing = [], {}
    for (folder, run), arm in zip(runs.items(), _arms(list(runs.values())), strict=True):
        outcomes += _outcomes(run, folder, arm, threshold, episodes)
        if run.step < run.outer_steps:
            missing[str(folder)] = f"is at outer step {run.step} of {run.outer_steps}, and counts as it is"
    _check_distinct(outcomes)
    return StudyResults(
        name=f"{len(folders)} runs",
        claim="",
        arms=list(dict.fromkeys(each.arm for each in outcomes)),
        score=task.score,
        better=task.better,
        threshold=threshold,
        references=task.references().get(task.score, {}),
        notes=task.notes,
        outcomes=outcomes,
        missing=missing,
    )


def _arms(runs: list[Run]) -> list[str]:
    """A name for each run: the arguments in which runs differ, but for the seed."""
    known = [{k: v for k, v in run.configuration.items() if k not in ("seed", "seeds")} for run in runs]
    names = list(dict.fromkeys(name for each in known for name in each))
    differ = [name for name in names if len({json.dumps(each.get(name)) for each in known}) > 1]
    recipes = [run.recipe or "built by hand" for run in runs]
    return [
        " ".join(f"{name}={each[name]}" for name in differ if name in each) or recipe
        for each, recipe in zip(known, recipes, strict=True)
    ]


def _outcomes(run: Run, folder: Path, arm: str, threshold: float | None, episodes: int | None) -> list[TrialResult]:
    """Of each member, as of the run's last checkpoint."""
    rows = [row for row in read_metrics(folder) if row["step"] <= run.step] if run.step else []
    task, found = run.learner.task, read_result(folder)
    outcomes = []
    for learner in member_learners(run.learner):
        column = task.score if len(member_learners(run.learner)) == 1 else f"{task.score}/seed_{learner.seed}"
        if found and episodes is None:
            scores = {int(step): each for step, each in found["scores"].items()}
        else:
            count = cap_episodes(EPISODES, learner.agent.experts, MAX_TOTAL_EXPERTS) if episodes is None else episodes
            scores = {run.step: {"": evaluate_trial(learner, task, count, run.step, run.device)}}
        known: dict[str, Any] = {"arm": arm, "seed": learner.seed, "goal": run.outer_steps, "scores": scores}
        outcomes.append(make_trial_result(rows, task.score, task.better, threshold, column=column, **known))
    return outcomes


def _check_distinct(outcomes: list[TrialResult]) -> None:
    for one, other in itertools.combinations(outcomes, 2):
        if (one.arm, one.seed) == (other.arm, other.seed):
            raise ValueError(
                f"two runs of {one.arm} with seed {one.seed}: one run counted twice is no evidence; leave one out"
            )
