"""The last evaluation of a run, in evaluation.json of its folder, for `badger compare` and `badger inspect`.

`{"step": 1500, "scores": {SEED: {SCORE: {"mean": 0.1, "sem": 0.01}}}}`, a seed for each member of a population.
"""

import json
from pathlib import Path
from typing import Any

from badger.runs import checkpoint

FILE = "evaluation.json"
Scores = dict[str, dict[str, float | None]]  # score -> {"mean": ..., "sem": ...}


def write_evaluation(folder: Path, step: int, seed: int, scores: Scores) -> None:
    """Writes the scores of one member; they replace those of an earlier outer step.

    Args:
        folder: the run folder.
        step: outer steps of training.
        seed: of the member.
        scores: mean and standard error by score.

    Raises:
        OSError: the file could not be written.
        ValueError: the file is damaged.
    """
    saved = read_evaluation(folder)
    members = saved["scores"] if saved is not None and saved["step"] == step else {}
    text = json.dumps({"step": step, "scores": {**members, str(seed): scores}}, indent=2, allow_nan=False)
    checkpoint.atomic_write(folder / FILE, (text + "\n").encode())


def read_evaluation(folder: Path) -> dict[str, Any] | None:
    """The content of evaluation.json; None if there is no such file.

    Args:
        folder: the run folder.

    Raises:
        ValueError: the file is damaged.
    """
    file = folder / FILE
    if not file.exists():
        return None
    try:
        content = json.loads(file.read_text())
        return {"step": int(content["step"]), "scores": dict(content["scores"])}
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{file} is damaged: {error}; delete it, and run `badger evaluate {folder}` again") from error
