"""The base of writers of recorded episodes: what is written gets its name only when it is complete.

Shapes: N episode, T step, P agent of the environment.
"""

import os
import shutil
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import numpy as np
from torch import Tensor

from badger.datasets.episode_file import action_row
from badger.datasets.hdf5 import Group
from badger.datasets.sources import Episodes
from tasks import ActionSpace

W = TypeVar("W", bound="Writer")


class Writer(ABC):
    """Writes episodes to a temporary place, which is renamed when all are written: a reader never sees a part of them.

    As a context manager it closes the file at the end; after an error it discards what was written, and what had this
    name before is unchanged. A subclass opens `_file` at `_temporary`.

    Args:
        path: file or folder.
        action_space: of the task.
        task: its name.

    Raises:
        FileNotFoundError: there is no folder around it.
    """

    _file: Group

    def __init__(self, path: str | os.PathLike[str], action_space: ActionSpace, task: str = ""):
        self.path, self.action_space, self.task = Path(path), action_space, task
        self.episodes = self.steps = 0
        if not self.path.absolute().parent.is_dir():
            raise FileNotFoundError(f"{self.path}: want a file in a folder that exists, there is no {self.path.parent}")
        self._temporary = self.path.with_name(f"unfinished-{os.getpid()}-{self.path.name}.tmp")

    def __enter__(self: W) -> W:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()

    @abstractmethod
    def append(self, episodes: Episodes) -> None:
        """Appends whole episodes.

        Args:
            episodes: right-padded to any length.

        Raises:
            ValueError: what the format cannot hold.
        """

    @abstractmethod
    def _finish(self) -> list[Path]:
        """Writes what is left and closes the file; returns files and folders to be flushed to the disk."""

    def close(self) -> None:
        """Writes what is left, and gives the file or folder its name.

        Raises:
            ValueError: there is no episode.
            OSError: that of the system.
        """
        if not self.episodes:
            self.discard()
            raise ValueError(f"{self.path}: there are no episodes to write, want at least 1")
        try:
            sync(*self._finish())
            os.replace(self._temporary, self.path)
            sync(self.path.parent)
        finally:
            self.discard()

    def discard(self) -> None:
        """Deletes what was written; without effect once it is closed."""
        self._file.close()
        if self._temporary.is_dir():
            shutil.rmtree(self._temporary, ignore_errors=True)
        else:
            self._temporary.unlink(missing_ok=True)


def check_first(episodes: Episodes, space: ActionSpace, number: int) -> None:
    """Checks what each format asks of episodes.

    Args:
        episodes: to be written.
        space: the action space.
        number: of the first of them.

    Raises:
        ValueError: an episode without steps, or actions of another shape than those of the space.
    """
    if (episodes.length < 1).any():
        raise ValueError(f"episode {number + int((episodes.length < 1).long().argmax())} has no steps, want at least 1")
    want = (*episodes.reward.shape[2:], *action_row(space))
    if (found := tuple(episodes.action.shape[2:])) != want:
        raise ValueError(f"an action has shape {found}, want {want} of {space}: integers, no logits")


def to_numpy(name: str, values: Tensor) -> np.ndarray:
    """A field as an array.

    Args:
        name: of the field.
        values: on any device.

    Raises:
        ValueError: a type of numbers that HDF5 does not have.
    """
    try:
        return values.detach().cpu().numpy()
    except TypeError as error:
        raise ValueError(
            f"{name} is {values.dtype}, which a file of episodes cannot hold; want torch.float16, float32 or float64"
        ) from error


def sync(*paths: Path) -> None:
    """Flushes files and folders to the disk, so that they survive a power failure.

    Args:
        paths: of files that are closed, and of folders in which a file has been renamed.
    """
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
