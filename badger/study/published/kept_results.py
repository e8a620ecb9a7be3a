"""Results of a study as one small JSON file that is kept: the final facts of each run, without learning curves.

`write_report` writes it as results.json beside report.md. The files of this repository are in `notebooks/results`; a
wheel has them, too.
"""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any, Literal, TypedDict

from badger.runs.evaluations import MeanScore
from badger.runs.json_files import REQUIRED, read_json
from badger.study.results import StudyResults, TrialResult

FILE = "results.json"
FOLDERS = (Path(__file__).parent / "results", Path(__file__).parents[3] / "notebooks" / "results")
"""Where kept results are: in a wheel, in a checkout."""


class KeptRun(TypedDict):
    """A run in results.json; `threshold_reached`: outer step and seconds of training, None: not reached."""

    arm: str
    seed: int
    steps: int
    budget: int
    seconds: float
    diverged: bool
    threshold_reached: tuple[int, float] | None
    scores: dict[str, dict[str, dict[str, MeanScore]]]  # outer step -> evaluation -> score


FIELDS: dict[str, tuple[Any, Any]] = {
    "name": (str, REQUIRED),
    "claim": (str, REQUIRED),
    "arms": (list[str], REQUIRED),
    "score": (str, REQUIRED),
    "better": (Literal["lower", "higher"], REQUIRED),
    "better_in": (dict[str, Literal["lower", "higher"]], {}),
    "threshold": (float | None, REQUIRED),
    "runs": (list[KeptRun], REQUIRED),
}
"""The fields of results.json with their types."""


def results_to_json(results: StudyResults) -> str:
    """The content of results.json.

    Args:
        results: of a study.
    """
    content = {name: getattr(results, name) for name in FIELDS if name not in ("runs", "better_in")}
    content |= {"better_in": dict(results.better_in)} if results.better_in else {}
    runs = []
    for outcome in results.outcomes:
        run = {field.name: getattr(outcome, field.name) for field in dataclasses.fields(outcome)}
        del run["curve"]
        runs.append(run | {"scores": {str(step): scores for step, scores in outcome.scores.items()}})
    content |= {"arms": list(results.arms), "runs": runs}
    lines = json.dumps(content, allow_nan=False).replace('{"arm":', '\n{"arm":')  # a line for each run
    return lines + "\n"


def read_kept_results(file: Path) -> StudyResults:
    """The results of a file, without learning curves.

    Args:
        file: results.json of a study.

    Raises:
        DamagedFile: a field is missing or has another type.
        OSError: the file cannot be read.
    """
    content = read_json(file, FIELDS)
    outcomes = [_trial_result(run) for run in content.pop("runs")]
    return StudyResults(**content, references={}, outcomes=outcomes)


def _trial_result(run: dict[str, Any]) -> TrialResult:
    scores = {int(step): evaluations for step, evaluations in run["scores"].items()}
    reached = run["threshold_reached"]
    return TrialResult(
        arm=run["arm"], seed=run["seed"], steps=run["steps"], budget=run["budget"], seconds=run["seconds"],
        curve=([], []), threshold_reached=None if reached is None else (reached[0], reached[1]), scores=scores,
        diverged=run["diverged"],
    )  # fmt: skip


def kept_results(study: str) -> StudyResults | None:
    """The kept results of a study; None if there are none.

    Args:
        study: its name.

    Raises:
        DamagedFile: the file is damaged.
    """
    for folder in FOLDERS:
        file = folder / study / FILE
        if file.exists():
            return read_kept_results(file)
    return None


def hours(results: StudyResults, arms: set[str]) -> float:
    """Hours of training of all runs of some arms; a run of a study has one thread.

    Args:
        results: of a study.
        arms: their names.
    """
    return math.fsum(outcome.seconds for outcome in results.outcomes if outcome.arm in arms) / 3600
