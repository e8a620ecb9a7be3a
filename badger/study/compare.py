"""Results of any run folders, read from their JSON and metrics: arms are runs that differ only in their seed."""

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from badger.runs.evaluations import Scores, read_evaluation
from badger.runs.recorder import read_metrics
from badger.runs.run import Description, read_description
from badger.study.results import StudyResults, TrialResult, make_trial_result
from badger.study.trial import read_result


def compare_runs(folders: Sequence[str | Path], threshold: float | None = None) -> StudyResults:
    """Results of runs, finished or not, from their folders alone; builds no agent and writes nothing there.

    The final scores are those of the study that a run belongs to, else those of the last evaluation, which
    `badger train` and `badger evaluate RUN` keep in the folder; members of a population count one by one.

    Args:
        folders: run folders.
        threshold: of the moving average of the score in training; None: no outer step to it is reported.

    Raises:
        ValueError: no runs, two that are the same, or runs with different scores.
        FileNotFoundError: a folder without a run.
    """
    if not folders:
        raise ValueError("no runs to compare, want the folder of one at least")
    runs = {Path(folder): read_description(folder) for folder in folders}
    task = next(iter(runs.values())).task
    for folder, run in runs.items():
        if run.task.get("score") != task.get("score"):
            raise ValueError(
                f"{folder} is judged by {run.task.get('score')}, want {task.get('score')}, as the first run"
            )
    outcomes, missing = [], {}
    for (folder, run), arm in zip(runs.items(), _arms(list(runs.values())), strict=True):
        found = _trial_results(run, folder, arm, threshold)
        outcomes += found
        if found[0].steps < run.outer_steps:
            missing[str(folder)] = f"is at outer step {found[0].steps} of {run.outer_steps}, and counts as it is"
        elif not found[0].scores:
            missing[str(folder)] = f"was not evaluated; run `badger evaluate {folder}`"
    _check_distinct(outcomes)
    return StudyResults(
        name=f"{len(folders)} runs",
        claim="",
        arms=list(dict.fromkeys(each.arm for each in outcomes)),
        score=task["score"],
        better=task["better"],
        threshold=threshold,
        references=task["references"].get(task["score"], {}),
        notes=task["notes"],
        outcomes=outcomes,
        missing=missing,
    )


def _arms(runs: list[Description]) -> list[str]:
    """A name for each run: the arguments in which runs differ, but for the seed."""
    known = [{k: v for k, v in run.configuration.items() if k not in ("seed", "seeds")} for run in runs]
    names = list(dict.fromkeys(name for each in known for name in each))
    differ = [name for name in names if len({json.dumps(each.get(name)) for each in known}) > 1]
    recipes = [run.recipe or "built by hand" for run in runs]
    return [
        " ".join(f"{name}={each[name]}" for name in differ if name in each) or recipe
        for each, recipe in zip(known, recipes, strict=True)
    ]


def _trial_results(run: Description, folder: Path, arm: str, threshold: float | None) -> list[TrialResult]:
    """One result for each member of the run."""
    rows = read_metrics(folder) if (folder / "metrics.jsonl").exists() else []
    results = []
    for seed in run.seeds:
        column = run.task["score"] if len(run.seeds) == 1 else f"{run.task['score']}/seed_{seed}"
        known: dict[str, Any] = {
            "arm": arm, "seed": seed, "budget": run.outer_steps, "scores": _scores(folder, seed)
        }  # fmt: skip
        results.append(
            make_trial_result(rows, run.task["score"], run.task["better"], threshold, column=column, **known)
        )
    return results


def _scores(folder: Path, seed: int) -> dict[int, dict[str, Scores]]:
    """Evaluations by outer step: those of a study, else the last one of the run."""
    found = read_result(folder)
    if found is not None:
        return {int(step): scores for step, scores in found["scores"].items()}
    evaluation = read_evaluation(folder)
    if evaluation is None or str(seed) not in evaluation["scores"]:
        return {}
    return {evaluation["step"]: {"": evaluation["scores"][str(seed)]}}


def _check_distinct(outcomes: list[TrialResult]) -> None:
    for one, other in itertools.combinations(outcomes, 2):
        if (one.arm, one.seed) == (other.arm, other.seed):
            raise ValueError(
                f"two runs of {one.arm} with seed {one.seed}: one run counted twice is no evidence; leave one out"
            )
