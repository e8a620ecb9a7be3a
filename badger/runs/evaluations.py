"""The last evaluation of a run, in evaluation.json of its folder: what `badger compare` reads instead of an agent.

`{"step": 1500, "scores": {SEED: {SCORE: {"mean": 0.1, "sem": 0.01}}}}`, a seed for each member of a population.
"""

import json
from pathlib import Path
from typing import Any

from badger.runs import checkpoint

FILE = "evaluation.json"
Scores = dict[str, dict[str, float | None]]


def write_evaluation(folder: Path, step: int, seed: int, scores: Scores) -> None:
    """Keeps the scores of one member; those of an earlier outer step are replaced.

    Args:
        folder: of the run.
        step: outer steps that the agent had been trained for.
        seed: of the member.
        scores: mean and standard error by score.

    Raises:
        OSError: the file could not be written.
        ValueError: the file is damaged.
    """
    found = read_evaluation(folder)
    kept = found["scores"] if found is not None and found["step"] == step else {}
    text = json.dumps({"step": step, "scores": {**kept, str(seed): scores}}, indent=2, allow_nan=False)
    checkpoint.atomic_write(folder / FILE, (text + "\n").encode())


def read_evaluation(folder: Path) -> dict[str, Any] | None:
    """The content of evaluation.json; None where there is none.

    Args:
        folder: of the run.

    Raises:
        ValueError: the file is damaged.
    """
    file = folder / FILE
    if not file.exists():
        return None
    try:
        found = json.loads(file.read_text())
        return {"step": int(found["step"]), "scores": dict(found["scores"])}
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{file} is damaged: {error}; delete it, and run `badger evaluate {folder}` again") from error
