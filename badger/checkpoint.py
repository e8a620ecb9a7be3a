"""Checkpoints: written whole or not at all, checked when read.

A checkpoint is a torch file of plain types and tensors, so that it loads with `weights_only=True`. It is written to a
temporary file, flushed to the disk and renamed; whatever happens meanwhile, the former ones stay as they were. Reading
checks the CRC of every part, which `torch.load` does not.
"""

import contextlib
import io
import os
import zipfile
from pathlib import Path
from typing import Any

import torch


class Corrupt(ValueError):
    """A checkpoint that is truncated or damaged."""


def path(folder: Path, step: int) -> Path:
    return folder / f"step_{step:08d}.pt"


def steps(folder: Path) -> list[int]:
    """Outer steps of which there is a checkpoint, oldest first."""
    return sorted(int(file.stem.removeprefix("step_")) for file in folder.glob("step_*.pt"))


def write(folder: Path, step: int, content: dict[str, Any], *, keep: int, best: bool) -> Path:
    """Saves, and then deletes all but the last `keep`; `best` also becomes best.pt.

    Raises:
        OSError: as the system gave it (a full disk, no permission). The former checkpoints are untouched.
    """
    folder.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    torch.save(content, buffer)
    file = path(folder, step)
    _replace(file, buffer.getbuffer())
    if best:
        _replace(folder / "best.pt", buffer.getbuffer())
    for old in steps(folder)[:-keep]:
        path(folder, old).unlink()
    return file


def _replace(file: Path, content: memoryview) -> None:
    temporary = file.with_suffix(".tmp")
    try:
        with temporary.open("wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(file)
    except BaseException:
        with contextlib.suppress(OSError):  # the first error is the one to hear about
            temporary.unlink()
        raise
    sync(file.parent)


def sync(folder: Path) -> None:
    """Makes a rename in the folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read(file: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Raises Corrupt where the file is not a whole checkpoint, FileNotFoundError where there is none."""
    try:
        with zipfile.ZipFile(file) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise Corrupt(f"{file} is damaged: {damaged} does not match its checksum")
        content = torch.load(file, map_location=device, weights_only=True)
    except zipfile.BadZipFile as error:
        raise Corrupt(f"{file} is truncated or no checkpoint ({file.stat().st_size} bytes): {error}") from error
    if not isinstance(content, dict) or "learner" not in content:
        raise Corrupt(f"{file} is a torch file, but not a checkpoint of a run")
    return content
