"""The last evaluation of a run, in evaluation.json of its folder, for `badger compare` and `badger inspect`.

`{"step": 1500, "scores": {SEED: {SCORE: {"mean": 0.1, "sem": 0.01}}}}`, a seed for each member of a population.
"""

import json
import os
from collections.abc import Mapping
from typing import Any, TypedDict

from torch import Tensor

from badger.evaluation.evaluate import nan_mean_and_sem
from badger.runs.files import as_path, atomic_write
from badger.runs.json_files import REQUIRED, read_json
from badger.runs.recorder import nan_to_none

FILE = "evaluation.json"
Scores = dict[str, dict[str, float | None]]  # score -> {"mean": ..., "sem": ...}


class MeanScore(TypedDict):
    """A score in a JSON file; None where it is not finite."""

    mean: float | None
    sem: float | None


FIELDS = {"step": (int, REQUIRED), "scores": (dict[str, dict[str, MeanScore]], REQUIRED)}


def mean_scores(scores: Mapping[str, Tensor]) -> Scores:
    """Mean and standard error of each score over episodes, for JSON: None where they are not finite.

    Args:
        scores: one value for each episode.
    """
    means = {name: dict(zip(("mean", "sem"), nan_mean_and_sem(values), strict=True)) for name, values in scores.items()}
    return {name: nan_to_none(mean) for name, mean in means.items()}


def write_evaluation(folder: str | os.PathLike[str], step: int, seed: int, scores: Scores) -> None:
    """Writes the scores of one member; they replace those of an earlier outer step.

    Args:
        folder: the run folder.
        step: outer steps of training.
        seed: of the member.
        scores: mean and standard error by score.

    Raises:
        OSError: the file could not be written.
        DamagedFile: the file is damaged.
    """
    saved = read_evaluation(folder)
    members = saved["scores"] if saved is not None and saved["step"] == step else {}
    text = json.dumps({"step": step, "scores": {**members, str(seed): scores}}, indent=2, allow_nan=False)
    atomic_write(as_path(folder) / FILE, (text + "\n").encode())


def read_evaluation(folder: str | os.PathLike[str]) -> dict[str, Any] | None:
    """The content of evaluation.json; None if there is no such file.

    Args:
        folder: the run folder.

    Raises:
        DamagedFile: the file is damaged.
    """
    file = as_path(folder) / FILE
    if not file.exists():
        return None
    return read_json(file, FIELDS, f"delete it, and run `badger evaluate {folder}` again")
