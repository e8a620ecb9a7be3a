"""One run of a study: training up to each milestone, evaluation there, and the scores in result.json.

The file is replaced atomically after each evaluation, before training continues. So it has the evaluation of every
milestone that the run has passed, whenever the process is killed. A run is finished when it has all evaluations.
"""

import json
import os
import reprlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from badger.errors import DamagedFile
from badger.evaluation.evaluate import evaluate, replace_fields
from badger.learners import Learner
from badger.recipes.build import load_or_build
from badger.rng import generator, seeded_generator
from badger.runs.evaluations import MeanScore, Scores, mean_scores
from badger.runs.events import log_evaluation
from badger.runs.files import as_path, atomic_write
from badger.runs.json_files import REQUIRED, read_json
from badger.runs.recorder import read_metrics
from badger.runs.run import Run, read_description
from badger.runs.training import train
from badger.study.study import Arm, Study
from tasks import Task

"""By score: its `mean` and the standard error `sem` of the mean."""


@dataclass(frozen=True)
class Trial:
    """A run of a study: one arm with one seed.

    Args:
        study: its definition.
        arm: name of the arm.
        seed: its seed.
        root: folder of the study.
        tensorboard: write TensorBoard events.
    """

    study: Study
    arm: str
    seed: int
    root: Path
    tensorboard: bool = True

    @property
    def name(self) -> str:
        """Arm and seed, for messages."""
        return f"{self.arm} seed {self.seed}"

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.root / self.arm / f"seed-{self.seed}"

    @property
    def expected(self) -> dict[str, Any]:
        """Everything on which the run depends, as decoded from JSON."""
        arm, definition = self.study.arms[self.arm], self.study.definition()
        call = {"recipe": arm.recipe, "arguments": {**arm.arguments, "seed": self.seed}, "episodes": self.episodes}
        return json.loads(json.dumps(call)) | {"evaluations": definition["evaluations"]}

    @property
    def episodes(self) -> int | None:
        """Of an evaluation."""
        arm = self.study.arms[self.arm]
        return self.study.episodes if arm.episodes is None else arm.episodes


FIELDS: dict[str, tuple[Any, Any]] = {
    "recipe": (str, REQUIRED),
    "arguments": (dict[str, Any], REQUIRED),
    "episodes": (int | None, REQUIRED),
    "evaluations": (dict[str, dict[str, Any]], REQUIRED),
    "milestones": (list[int], REQUIRED),
    "better": (Literal["lower", "higher"], REQUIRED),
    "references": (dict[str, dict[str, float]], REQUIRED),
    "notes": (list[str], REQUIRED),
    "scores": (dict[str, dict[str, dict[str, MeanScore]]], REQUIRED),
}
"""The fields of result.json with their types."""


def read_result(folder: str | os.PathLike[str]) -> dict[str, Any] | None:
    """Content of result.json, or None where there is none.

    Args:
        folder: of the run.

    Raises:
        DamagedFile: the file is no JSON, or a field is missing or has another type.
    """
    file = as_path(folder) / "result.json"
    if not file.exists():
        return None
    advice = f"delete {folder} to run it again"
    result = read_json(file, FIELDS, advice)
    wrong = {"milestones": not result["milestones"], "scores": not all(step.isdecimal() for step in result["scores"])}
    for name in (name for name, is_wrong in wrong.items() if is_wrong):
        message = f"{file} is damaged: {name} are {reprlib.repr(result[name])}, want outer steps; {advice}"
        raise DamagedFile(message, file=file, place=name)
    return result


def is_finished(job: Trial) -> bool:
    """Whether a run has all its evaluations.

    Args:
        job: the run.

    Raises:
        ValueError: a file of the run is damaged, or the run was written by version 0.1.
    """
    if (job.folder / "run.json").exists():
        read_description(job.folder)
    result = read_result(job.folder)
    return (
        result is not None
        and {name: result[name] for name in job.expected} == job.expected
        and set(job.study.milestones) <= set(result["milestones"])
        and set(map(str, result["milestones"])) == set(result["scores"])
    )


def run_trial(job: Trial) -> None:
    """Trains and evaluates a run, or resumes it from its last checkpoint.

    Args:
        job: the run.

    Raises:
        ValueError: the study does not match its task, or the run has passed a milestone without an evaluation.
        Diverged, KeyboardInterrupt, OSError: as `train` does.
    """
    expected, study = job.expected, job.study
    run = load_or_build(job.folder, expected["recipe"], **expected["arguments"])
    task, milestones = run.learner.task, _milestones(run, study)
    arm = study.arms[job.arm]
    score, better = arm.score or study.score, arm.better or task.better
    if arm.metric is None and score != task.score:
        _check_other_score(study, arm, score, task)
    evaluations = {name: _evaluation(task, name, fields) for name, fields in study.evaluations.items()}
    scores = _saved_scores(job)
    notes = list(dict.fromkeys(note for played in (task, *(task for task, _ in evaluations.values()))
                               for note in played.notes))  # fmt: skip
    description = {
        **expected, "milestones": milestones, "better": better, "references": task.references(), "notes": notes
    }  # fmt: skip
    if arm.metric is not None:
        description["notes"].append(f"{study.score}: mean of {arm.metric} in training since the milestone before")
    _write_result(job.folder, description, scores)
    for step in milestones:
        if str(step) in scores:
            continue
        if run.step > step:
            raise ValueError(
                f"{job.folder} is at outer step {run.step} and has no evaluation at {step}: it was trained by another "
                "command; delete the folder to run it again"
            )
        train(run, step - run.step, quiet=True, tensorboard=job.tensorboard)
        scores[str(step)] = {
            name: evaluate_trial(run.learner, played, job.episodes, step, run.device, experts)
            for name, (played, experts) in evaluations.items()
        }
        for evaluated in scores[str(step)].values():
            evaluated[study.score] = evaluated[score] if arm.metric is None else _logged_mean(job, arm.metric, step)
        if job.tensorboard:
            _log_to_tensorboard(run, scores[str(step)], study.score)
        _write_result(job.folder, description, scores)


def evaluate_trial(
    learner: Learner, task: Task, episodes: int | None, step: int, device: torch.device, experts: int | None = None
) -> Scores:
    """Scores on held-out episodes.

    The generator follows from seed, stream name and outer step; nothing else draws from the stream of this name. Arms
    with the same seed are evaluated on the same episodes.

    Args:
        learner: with the agent and the policy.
        task: of the episodes.
        episodes: number of episodes; None: all of a finite task.
        step: outer steps of training so far.
        device: where the episodes run.
        experts: number of experts; None: as the agent was built.
    """
    count: Any = episodes
    rng = generator(learner.seed, "study-evaluation", step, device=device)
    return mean_scores(evaluate(learner.agent, task, count, rng, learner.eval_policy, experts=experts))


def _saved_scores(job: Trial) -> dict[str, dict[str, Scores]]:
    """The scores in result.json, empty where there is none."""
    result = read_result(job.folder) or {**job.expected, "scores": {}}
    for name, expected in job.expected.items():
        if result[name] != expected:
            raise ValueError(
                f"{job.folder} was evaluated with {name}={result[name]}, want {expected}; use another --folder"
            )
    return result["scores"]


def _check_other_score(study: Study, arm: Arm, score: str, task: Task) -> None:
    """Raises ValueError if a score that is not the main one of the task is unknown, or has no direction."""
    if arm.better is None:
        raise ValueError(
            f"study {study.name!r}: score={score!r}, want {task.score!r}, the score of {task}; an arm with another one "
            "says by better=, whether lower or higher is better"
        )
    known = task.reset(1, seeded_generator(0))[1].scores
    if score not in known:
        raise ValueError(f"study {study.name!r}: score={score!r}, want one of {', '.join(known)}, the scores of {task}")


def _logged_mean(job: Trial, metric: str, step: int) -> dict[str, float | None]:
    """The mean of a metric of training since the milestone before `step`, and its standard error."""
    start = max((before for before in job.study.milestones if before < step), default=0)
    rows = [row for row in read_metrics(job.folder) if start < row["step"] <= step]
    values = [row[metric] for row in rows if row.get(metric) is not None]
    if not values:
        raise ValueError(f"arm {job.arm!r}: metric={metric!r}, want one that is logged: {', '.join(rows[-1])}")
    return mean_scores({metric: torch.tensor(values, dtype=torch.float64)})[metric]


def _milestones(run: Run, study: Study) -> list[int]:
    too_late = [step for step in study.milestones if step > run.outer_steps]
    if too_late:
        raise ValueError(
            f"study {study.name!r}: milestone {too_late[0]}, but runs end after {run.outer_steps} outer steps"
        )
    return sorted({*study.milestones, run.outer_steps})


def _evaluation(task: Task, name: str, fields: dict[str, Any]) -> tuple[Task, int | None]:
    """The task of an evaluation, and its number of experts."""
    of_task = {field: value for field, value in fields.items() if field != "experts"}
    try:
        return replace_fields(task, **of_task), fields.get("experts")
    except ValueError as error:
        raise ValueError(f"evaluation {name!r}: {error}") from error


def _log_to_tensorboard(run: Run, scores: dict[str, Scores], score: str) -> None:
    """Writes the first evaluation, by which arms are compared, to TensorBoard."""
    mean = next(iter(scores.values()))[score]["mean"]
    if mean is not None and run.folder is not None:
        log_evaluation(run.folder, score, mean, run.step)


def _write_result(folder: Path, description: dict[str, Any], scores: dict[str, dict[str, Scores]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({**description, "scores": scores}, indent=2, allow_nan=False) + "\n"
    atomic_write(folder / "result.json", text.encode())
