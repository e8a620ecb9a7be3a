"""Results of any run folders, from their JSON files: runs that differ only in their seed form an arm."""

import itertools
import json
import os
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from badger.errors import DamagedFile
from badger.runs.evaluations import Scores, read_evaluation
from badger.runs.files import as_path
from badger.runs.json_files import REQUIRED, check_fields
from badger.runs.recorder import read_metrics
from badger.runs.run import Description, TaskFacts, read_description
from badger.study.results import StudyResults, TrialResult, make_trial_result
from badger.study.trial import read_result


def compare_runs(folders: Sequence[str | os.PathLike[str]], threshold: float | None = None) -> StudyResults:
    """Results of finished and unfinished runs from their folders; builds no agent and writes nothing there.

    Final scores are those of the study of a run, or else those of the last evaluation, which `badger train` and
    `badger evaluate RUN` save in the folder. Each member of a population counts as one run.

    Args:
        folders: run folders.
        threshold: of the moving average of the score in training; None: not reported.

    Raises:
        ValueError: there are no runs, two of them are the same, or their tasks have different scores.
        FileNotFoundError: a folder has no run.
        DamagedFile: a file is damaged.
    """
    if not folders:
        raise ValueError("no runs to compare, want at least one run folder")
    runs = {as_path(folder): _read_complete(folder) for folder in folders}
    task = next(iter(runs.values())).task
    for folder, run in runs.items():
        if run.task.get("score") != task.get("score"):
            raise ValueError(
                f"{folder} has the score {run.task.get('score')}, want {task.get('score')} as the first run"
            )
    trials, missing = [], {}
    for (folder, run), arm in zip(runs.items(), _arms(list(runs.values())), strict=True):
        members = _trial_results(run, folder, arm, threshold)
        trials += members
        if members[0].steps < run.outer_steps:
            missing[str(folder)] = f"is at outer step {members[0].steps} of {run.outer_steps}; it counts as it is"
        elif not members[0].scores:
            missing[str(folder)] = f"has no evaluation; run `badger evaluate {folder}`"
    _check_distinct(trials)
    return StudyResults(
        name=f"{len(folders)} runs",
        claim="",
        arms=list(dict.fromkeys(trial.arm for trial in trials)),
        score=task["score"],
        better=task["better"],
        threshold=threshold,
        references=task["references"].get(task["score"], {}),
        notes=task["notes"],
        outcomes=trials,
        missing=missing,
    )


def _read_complete(folder: str | os.PathLike[str]) -> Description:
    """The description of a run with all that a comparison needs."""
    run, file = read_description(folder), as_path(folder) / "run.json"
    if not run.seeds:
        raise DamagedFile(f"{file} is damaged: it has no seeds", file=file, place="seeds")
    facts = typing.get_type_hints(TaskFacts)
    check_fields({**dict.fromkeys(facts, REQUIRED), **run.task}, facts, file, prefix="task.")
    return run


def _arms(runs: list[Description]) -> list[str]:
    """A name for each run: the arguments in which runs differ, except the seed."""
    arguments = [{k: v for k, v in run.configuration.items() if k not in ("seed", "seeds")} for run in runs]
    names = list(dict.fromkeys(name for items in arguments for name in items))
    different = [name for name in names if len({json.dumps(items.get(name)) for items in arguments}) > 1]
    recipes = [run.recipe or "built by hand" for run in runs]
    return [
        " ".join(f"{name}={items[name]}" for name in different if name in items) or recipe
        for items, recipe in zip(arguments, recipes, strict=True)
    ]


def _trial_results(run: Description, folder: Path, arm: str, threshold: float | None) -> list[TrialResult]:
    """Results of each member of a run."""
    rows = read_metrics(folder) if (folder / "metrics.jsonl").exists() else []
    results = []
    for seed in run.seeds:
        column = run.task["score"] if len(run.seeds) == 1 else f"{run.task['score']}/seed_{seed}"
        fields: dict[str, Any] = {
            "arm": arm, "seed": seed, "budget": run.outer_steps, "scores": _scores(folder, seed)
        }  # fmt: skip
        results.append(
            make_trial_result(rows, run.task["score"], run.task["better"], threshold, column=column, **fields)
        )
    return results


def _scores(folder: Path, seed: int) -> dict[int, dict[str, Scores]]:
    """Evaluations by outer step: those of a study, or else the last one in the run folder."""
    result = read_result(folder)
    if result is not None:
        return {int(step): scores for step, scores in result["scores"].items()}
    evaluation = read_evaluation(folder)
    if evaluation is None or str(seed) not in evaluation["scores"]:
        return {}
    return {evaluation["step"]: {"": evaluation["scores"][str(seed)]}}


def _check_distinct(trials: list[TrialResult]) -> None:
    for first, second in itertools.combinations(trials, 2):
        if (first.arm, first.seed) == (second.arm, second.seed):
            raise ValueError(
                f"two runs of {first.arm} have seed {first.seed}, and may be copies of one run; leave one of them out"
            )
