"""Results of any run folders: runs that differ only in their seed form an arm."""

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

EPISODES = 1024  # of an evaluation
MAX_TOTAL_EXPERTS = 2**17  # episodes x experts of an evaluation


def compare_runs(
    folders: Sequence[str | Path],
    threshold: float | None = None,
    episodes: int | None = None,
    trusted: Collection[str] = (),
) -> StudyResults:
    """Collects the results of finished and unfinished runs; nothing is written into their folders.

    A run of a study has its evaluations already. Any other run is evaluated at its last checkpoint, each member of a
    population separately.

    Args:
        folders: run folders.
        threshold: of the moving average of the score, for "steps to threshold"; None: not reported.
        episodes: evaluates every run with this many episodes; None: takes a study's own evaluations.
        trusted: modules whose code the runs may import, see `badger.load_run`.

    Raises:
        ValueError: there are no runs, two of them are the same, or their tasks have different scores.
    """
    if not folders:
        raise ValueError("no runs to compare, want at least one run folder")
    runs = {Path(folder): load_run(folder, trusted=trusted) for folder in folders}
    task = next(iter(runs.values())).learner.task
    for folder, run in runs.items():
        if run.learner.task.score != task.score:
            raise ValueError(f"{folder} has the score {run.learner.task.score}, want {task.score} as the first run")
    trials, missing = [], {}
    for (folder, run), arm in zip(runs.items(), _arms(list(runs.values())), strict=True):
        trials += _trial_results(run, folder, arm, threshold, episodes)
        if run.step < run.outer_steps:
            missing[str(folder)] = f"is at outer step {run.step} of {run.outer_steps}; its last checkpoint is evaluated"
    _check_distinct(trials)
    return StudyResults(
        name=f"{len(folders)} runs",
        claim="",
        arms=list(dict.fromkeys(trial.arm for trial in trials)),
        score=task.score,
        better=task.better,
        threshold=threshold,
        references=task.references().get(task.score, {}),
        notes=task.notes,
        outcomes=trials,
        missing=missing,
    )


def _arms(runs: list[Run]) -> list[str]:
    """A name for each run: the arguments in which runs differ, except the seed."""
    arguments = [{k: v for k, v in run.configuration.items() if k not in ("seed", "seeds")} for run in runs]
    names = list(dict.fromkeys(name for run_arguments in arguments for name in run_arguments))
    different = [name for name in names if len({json.dumps(items.get(name)) for items in arguments}) > 1]
    recipes = [run.recipe or "built by hand" for run in runs]
    return [
        " ".join(f"{name}={items[name]}" for name in different if name in items) or recipe
        for items, recipe in zip(arguments, recipes, strict=True)
    ]


def _trial_results(
    run: Run, folder: Path, arm: str, threshold: float | None, episodes: int | None
) -> list[TrialResult]:
    """Results of each member of a run at its last checkpoint."""
    rows = [row for row in read_metrics(folder) if row["step"] <= run.step] if run.step else []
    task, result = run.learner.task, read_result(folder)
    trials = []
    for learner in member_learners(run.learner):
        column = task.score if len(member_learners(run.learner)) == 1 else f"{task.score}/seed_{learner.seed}"
        if result and episodes is None:
            scores = {int(step): evaluations for step, evaluations in result["scores"].items()}
        else:
            count = cap_episodes(EPISODES, learner.agent.experts, MAX_TOTAL_EXPERTS) if episodes is None else episodes
            scores = {run.step: {"": evaluate_trial(learner, task, count, run.step, run.device)}}
        fields: dict[str, Any] = {"arm": arm, "seed": learner.seed, "budget": run.outer_steps, "scores": scores}
        trials.append(make_trial_result(rows, task.score, task.better, threshold, column=column, **fields))
    return trials


def _check_distinct(trials: list[TrialResult]) -> None:
    for first, second in itertools.combinations(trials, 2):
        if (first.arm, first.seed) == (second.arm, second.seed):
            raise ValueError(
                f"two runs of {first.arm} have seed {first.seed}, and may be copies of one run; leave one of them out"
            )
