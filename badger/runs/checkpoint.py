"""Checkpoints: written whole or not at all, checked when read.

A checkpoint is a torch file of plain types and tensors, so that it loads with `weights_only=True`. The checksum of the
whole file stands in its zip comment: the CRCs that zip keeps leave out its directory, and `torch.load` checks none.
"""

import contextlib
import hashlib
import io
import os
import re
from pathlib import Path
from typing import Any

import torch


class CorruptCheckpoint(ValueError):
    """A checkpoint that is truncated or damaged."""


def path(folder: Path, step: int) -> Path:
    return folder / f"step_{step:08d}.pt"


def saved_steps(folder: Path) -> list[int]:
    """Outer steps of which there is a checkpoint, oldest first."""
    names = (re.fullmatch(r"step_(\d+)\.pt", file.name) for file in folder.glob("step_*.pt"))
    return sorted(int(name[1]) for name in names if name)


def write(folder: Path, step: int, content: dict[str, Any], *, keep: int, best: bool) -> Path:
    """Saves, and then deletes all that are older but the last `keep`; `best` also becomes best.pt.

    Raises:
        OSError: as the system gave it (a full disk, no permission). The former checkpoints are untouched.
    """
    folder.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    torch.save(content, buffer)
    archive = buffer.getbuffer()[:-2]  # less the length of its comment, so far 0
    file, comment = path(folder, step), hashlib.sha256(archive).hexdigest().encode()
    parts = (archive, len(comment).to_bytes(2, "little"), comment)
    if best:  # first: a run that is killed before the other one is written does this step again
        atomic_write(folder / "best.pt", *parts)
    atomic_write(file, *parts)
    for old in [s for s in saved_steps(folder) if s <= step][:-keep]:
        path(folder, old).unlink()
    return file


def read(file: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Raises Corrupt where the file is not a whole checkpoint, OSError where it cannot be read."""
    data = file.read_bytes()
    archive, comment = memoryview(data)[:-66], data[-64:]
    if hashlib.sha256(archive).hexdigest().encode() != comment:
        raise CorruptCheckpoint(f"{file} is truncated, damaged or no checkpoint ({len(data)} bytes)")
    return torch.load(io.BytesIO(data), map_location=device, weights_only=True)


def atomic_write(file: Path, *parts: bytes | memoryview) -> None:
    """Writes the file whole or not at all: to a temporary one, flushed to the disk and renamed."""
    temporary = file.with_name("unfinished.tmp")
    try:
        with temporary.open("wb") as out:
            for part in parts:
                out.write(part)
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(file)
    except OSError as error:
        error.filename = str(file)  # what could not be written does not say what it was
        raise
    finally:
        with contextlib.suppress(OSError):  # the first error is the one to hear about
            temporary.unlink()
    _sync(file.parent)


def _sync(folder: Path) -> None:
    """Makes a rename in the folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
