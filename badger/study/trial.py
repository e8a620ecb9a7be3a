"""One run of a study: trained up to each milestone, evaluated there, and what came of it in its result.json.

That file is written anew, whole or not at all, after each evaluation and before training goes on. So it holds the
evaluation of every milestone that the run has passed, whenever it was killed; it is finished when it holds them all.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from badger.evaluation.evaluate import evaluate, nan_mean_and_sem, replace_fields
from badger.learners import Learner
from badger.recipes.build import load_or_build
from badger.rng import generator
from badger.runs import checkpoint, recorder
from badger.runs.run import Run, read_description
from badger.runs.training import train
from badger.study.study import Study
from tasks import Task

Scores = dict[str, dict[str, float | None]]  # score -> its mean, and the standard error of that


@dataclass(frozen=True)
class Trial:
    """A study's run of one arm and seed, and where all runs of the study are."""

    study: Study
    arm: str
    seed: int
    root: Path
    tensorboard: bool = True

    @property
    def name(self) -> str:
        return f"{self.arm} seed {self.seed}"

    @property
    def folder(self) -> Path:
        return self.root / self.arm / f"seed-{self.seed}"

    @property
    def expected(self) -> dict[str, Any]:
        """What the run depends on, as JSON gives it back."""
        arm, definition = self.study.arms[self.arm], self.study.definition()
        about = {"recipe": arm.recipe, "arguments": {**arm.arguments, "seed": self.seed}}
        return json.loads(json.dumps(about)) | {name: definition[name] for name in ("episodes", "evaluations")}


def read_result(folder: Path) -> dict[str, Any] | None:
    """What result.json holds; None where there is none yet."""
    file = folder / "result.json"
    if not file.exists():
        return None
    try:
        return json.loads(file.read_text())
    except ValueError as error:
        raise ValueError(f"{file} is damaged: {error}; delete {folder} to run it again") from error


def is_finished(job: Trial) -> bool:
    """Whether nothing is left to do.

    Raises:
        ValueError: a file of the run is damaged, or the run was written by version 0.1.
    """
    if (job.folder / "run.json").exists():
        read_description(job.folder)
    found = read_result(job.folder)
    return (
        found is not None
        and {name: found[name] for name in job.expected} == job.expected
        and set(job.study.milestones) <= set(found["milestones"])
        and set(map(str, found["milestones"])) == set(found["scores"])
    )


def run_trial(job: Trial) -> None:
    """Trains, evaluates, and writes it down; or goes on where it was stopped.

    Raises:
        ValueError: the study does not fit its task, or the run has passed a milestone without an evaluation.
        Diverged, KeyboardInterrupt, OSError: as `train` does.
    """
    asked, study = job.expected, job.study
    run = load_or_build(job.folder, asked["recipe"], **asked["arguments"])
    task, milestones = run.learner.task, _milestones(run, study)
    if study.score != task.score:
        raise ValueError(f"study {study.name!r}: score={study.score!r}, want {task.score!r}, that of {task}")
    tasks = {name: _changed(task, name, fields) for name, fields in study.evaluations.items()}
    scores = _saved_scores(job)
    notes = list(dict.fromkeys(note for each in (task, *tasks.values()) for note in each.notes))
    about = {
        **asked, "milestones": milestones, "better": task.better, "references": task.references(), "notes": notes
    }  # fmt: skip
    _write(job.folder, about, scores)
    for step in milestones:
        if str(step) in scores:
            continue
        if run.step > step:
            raise ValueError(
                f"{job.folder} is at outer step {run.step} and was not evaluated at {step}: something else has trained "
                "it; delete the folder to run it again"
            )
        train(run, step - run.step, quiet=True, tensorboard=job.tensorboard)
        scores[str(step)] = {
            name: evaluate_trial(run.learner, each, study.episodes, step, run.device) for name, each in tasks.items()
        }
        if job.tensorboard:
            _log_to_tensorboard(run, scores[str(step)], study.score)
        _write(job.folder, about, scores)


def evaluate_trial(learner: Learner, task: Task, episodes: int | None, step: int, device: torch.device) -> Scores:
    """The scores on evaluation episodes, which no training meets: a generator follows from a hash of seed, stream and
    step, and no learner, look or opening draws from the stream of this name. Arms share seeds: they meet the same."""
    count: Any = episodes
    rng = generator(learner.seed, "study-evaluation", step, device=device)
    scores = evaluate(learner.agent, task, count, rng, learner.eval_policy)
    means = {name: dict(zip(("mean", "sem"), nan_mean_and_sem(values), strict=True)) for name, values in scores.items()}
    return {name: recorder.nan_to_none(mean) for name, mean in means.items()}


def _saved_scores(job: Trial) -> dict[str, dict[str, Scores]]:
    """What was written down of the run when it was stopped."""
    found = read_result(job.folder) or {**job.expected, "scores": {}}
    for name, wanted in job.expected.items():
        if found[name] != wanted:
            raise ValueError(f"{job.folder} was evaluated with {name}={found[name]}, want {wanted}; use another folder")
    return found["scores"]


def _milestones(run: Run, study: Study) -> list[int]:
    late = [step for step in study.milestones if step > run.outer_steps]
    if late:
        raise ValueError(f"study {study.name!r}: milestone {late[0]}, but runs end after {run.outer_steps} outer steps")
    return sorted({*study.milestones, run.outer_steps})


def _changed(task: Task, name: str, fields: dict[str, Any]) -> Task:
    try:
        return replace_fields(task, **fields)
    except ValueError as error:
        raise ValueError(f"evaluation {name!r}: {error}") from error


def _log_to_tensorboard(run: Run, scores: dict[str, Scores], score: str) -> None:
    """TensorBoard gets the evaluation that the study is judged by."""
    mean = next(iter(scores.values()))[score]["mean"]
    if mean is not None and run.folder is not None:
        recorder.log_evaluation(run.folder, score, mean, run.step)


def _write(folder: Path, about: dict[str, Any], scores: dict[str, dict[str, Scores]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({**about, "scores": scores}, indent=2, allow_nan=False) + "\n"
    checkpoint.atomic_write(folder / "result.json", text.encode())
