"""Checkpoint files, written atomically and verified by a checksum when they are read.

A checkpoint is a torch file of plain types and tensors, so that it loads with `weights_only=True`. Its zip comment is a
SHA-256 checksum of the file, because the CRCs of the zip format do not cover its directory, and `torch.load` checks
none of them.
"""

import hashlib
import io
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypedDict

import torch

from badger.errors import DamagedFile
from badger.runs.files import atomic_write
from badger.runs.json_files import REQUIRED, check_fields

OUT_OF_MEMORY = (MemoryError, torch.OutOfMemoryError)


class _Best(TypedDict):
    """`badger.runs.best.BestFigure`."""

    kind: str
    episodes: int
    value: float


FIELDS: dict[str, Any] = {
    "recipe": str | None,
    "arguments": str,
    "averages": dict[str, float],
    "returns": list[tuple[float, float]],
    "best": _Best | None,
    "seconds": float,
    "start_step": int,
    "platform": dict[str, Any],
    "learner": dict[str, Any],
}
"""The fields of a checkpoint with their types; `arguments` is JSON."""


def path(folder: Path, step: int) -> Path:
    """The checkpoint file of an outer step.

    Args:
        folder: the folder of the checkpoints.
        step: outer step.
    """
    return folder / f"step_{step:08d}.pt"


def saved_steps(folder: Path) -> list[int]:
    """The outer steps that have a checkpoint, oldest first.

    Args:
        folder: the folder of the checkpoints.
    """
    names = (re.fullmatch(r"step_(\d+)\.pt", file.name) for file in folder.glob("step_*.pt"))
    return sorted(int(name[1]) for name in names if name)


def write(folder: Path, step: int, content: dict[str, Any], *, keep: int, best: bool) -> Path:
    """Writes a checkpoint, and then deletes older ones except the last `keep`; returns its file.

    Args:
        folder: the folder of the checkpoints.
        step: outer step.
        content: plain types and tensors.
        keep: number of checkpoints to keep.
        best: also write it as best.pt.

    Raises:
        OSError: that of the system (a full disk, no permission). Existing checkpoints are intact.
    """
    folder.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    torch.save(content, buffer)
    archive = buffer.getbuffer()[:-2]  # without the length of the comment, which is 0
    file, comment = path(folder, step), hashlib.sha256(archive).hexdigest().encode()
    parts = (archive, len(comment).to_bytes(2, "little"), comment)
    if best:  # first: a run that is killed between the two files repeats this step
        atomic_write(folder / "best.pt", *parts)
    atomic_write(file, *parts)
    for old in [s for s in saved_steps(folder) if s <= step][:-keep]:
        os.unlink(path(folder, old))
    return file


def read(file: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Reads and verifies a checkpoint.

    Args:
        file: the checkpoint.
        device: where its tensors go.

    Raises:
        DamagedFile: the file is truncated, damaged or no checkpoint; it holds other objects than plain types and
            tensors; or a field is missing or has another type.
        OSError: it cannot be read.
    """
    file = Path(file)
    data = file.read_bytes()
    archive, comment = memoryview(data)[:-66], data[-64:]
    if hashlib.sha256(archive).hexdigest().encode() != comment:
        raise DamagedFile(f"{file} is truncated, damaged or no checkpoint ({len(data)} bytes)", file=file)
    try:
        content = torch.load(io.BytesIO(data), map_location=device, weights_only=True)
    except OUT_OF_MEMORY:
        raise
    except Exception as error:  # of whatever kind: of the zip format, the pickle format, or of a tensor
        raise DamagedFile(f"{file} cannot be read safely, {type(error).__name__}: {error}", file=file) from error
    if not isinstance(content, dict):
        raise DamagedFile(f"{file} holds a {type(content).__name__}, want a dict", file=file)
    if "returns" not in content:  # saved by version 0.2
        content |= {"returns": [], "best": None, "start_step": 0, "platform": {}}
    check_fields({**dict.fromkeys(FIELDS, REQUIRED), **content}, FIELDS, file)
    try:
        arguments = json.loads(content["arguments"])
    except (ValueError, RecursionError) as error:
        raise DamagedFile(f"{file} is damaged: arguments is no JSON: {error}", file=file, place="arguments") from error
    check_fields({"arguments": arguments}, {"arguments": dict[str, Any]}, file)
    return content


@contextmanager
def explain_mismatch(file: Path) -> Iterator[None]:
    """Context in which the state of a learner is loaded; what does not fit is an error that names the file.

    Args:
        file: the checkpoint.

    Raises:
        DamagedFile: the state is not that of the learner.
    """
    try:
        yield
    except OUT_OF_MEMORY:
        raise
    except Exception as error:  # of whatever kind: the state may have any content
        raise DamagedFile(
            f"{file}: its learner cannot be loaded, {type(error).__name__}: {error}", file=file, place="learner"
        ) from error
