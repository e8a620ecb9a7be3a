"""Writes recorded episodes to a file, batch by batch, so that recordings of any length need the memory of one batch.

Shapes: N episode, T step, P agent of the environment.
"""

import os
from pathlib import Path
from types import TracebackType

import numpy as np
import torch
from torch import Tensor

from badger.datasets.episode_file import FORMAT, INFO, VERSION, action_row
from badger.datasets.hdf5 import append, create_growing, create_hdf5
from badger.datasets.sources import Episodes
from badger.datasets.spaces import space_to_json
from tasks import ActionSpace

Rows = dict[str, np.ndarray]


class EpisodeWriter:
    """Writes episodes to a temporary file, which is renamed when all are written: a reader never sees a part of a file.

    As a context manager it closes the file at the end; after an error it discards what was written, and a file that had
    this name before is unchanged.

    Args:
        path: the file.
        action_space: of the task.
        task: its name.

    Raises:
        OSError: the file cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str], action_space: ActionSpace, task: str = ""):
        self.path, self.action_space, self.task = Path(path), action_space, task
        self.episodes = self.steps = 0
        self._best = -np.inf
        check_folder(self.path)
        self._temporary = self.path.with_name(f"unfinished-{os.getpid()}-{self.path.name}.tmp")
        self._file = create_hdf5(self._temporary)

    def __enter__(self) -> "EpisodeWriter":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()

    def append(self, episodes: Episodes) -> None:
        """Appends whole episodes; the shapes and types of the first ones are those of the file.

        Args:
            episodes: right-padded to any length.

        Raises:
            ValueError: an episode without steps, a type of numbers that HDF5 does not have, or shapes and types other
                than those of the episodes before.
        """
        check_first(episodes, self.action_space, self.episodes)
        rows = self._rows(episodes)
        if not self.episodes:
            self._create(rows, tuple(episodes.reward.shape[2:]))
        self._check_alike(rows)
        for name, values in rows.items():
            append(self._file[name], values)
        self.episodes += len(episodes.length)
        self.steps += int(episodes.length.sum())
        self._best = max(self._best, best_return(episodes.returns))

    def close(self) -> None:
        """Writes what is left, and gives the file its name.

        Raises:
            ValueError: there is no episode.
            OSError: that of the system.
        """
        if not self.episodes:
            self.discard()
            raise ValueError(f"{self.path}: there are no episodes to write, want at least 1")
        try:
            self._file.attrs["best_return"] = self._best
            self._file.close()
            sync(self._temporary)
            os.replace(self._temporary, self.path)
            sync(self.path.parent)
        finally:
            self.discard()

    def discard(self) -> None:
        """Deletes what was written; without effect once the file is closed."""
        self._file.close()
        self._temporary.unlink(missing_ok=True)

    def _rows(self, episodes: Episodes) -> Rows:
        """The rows of each field that are no padding, by its name in the file."""
        valid = episodes.valid
        observed = torch.arange(episodes.obs.shape[1], device=valid.device) <= episodes.length.unsqueeze(-1)
        parts = {"obs": episodes.obs[observed]} | {
            name: getattr(episodes, name)[valid] for name in ("action", "reward", "terminated", "truncated")
        }
        if episodes.action_mask is not None:
            parts["action_mask"] = episodes.action_mask[valid]
        parts |= {INFO + name: values[valid] for name, values in episodes.info.items()}
        parts |= {"length": episodes.length.long(), "returns": episodes.returns}
        return {name: to_numpy(name, values) for name, values in parts.items()}

    def _create(self, rows: Rows, agents: tuple[int, ...]) -> None:
        for name, values in rows.items():
            create_growing(self._file, name, values.shape[1:], values.dtype)
        self._file.attrs.update(
            {
                "format": FORMAT, "version": VERSION, "task": self.task,
                "action_space": space_to_json(self.action_space), "obs_size": rows["obs"].shape[-1],
                "agents": agents[0] if agents else 0, "dtype": str(rows["obs"].dtype),
            }
        )  # fmt: skip

    def _check_alike(self, rows: Rows) -> None:
        file = self._file
        names = [INFO + name for name in file.get("info", {})] + [name for name in file if name != "info"]
        if set(names) != set(rows):
            raise ValueError(f"episodes have {sorted(rows)}, and those written before {sorted(names)}: want the same")
        for name, values in rows.items():
            found, before = (values.shape[1:], values.dtype), (file[name].shape[1:], file[name].dtype)
            if found != before:
                raise ValueError(
                    f"{name} of a step has shape {found[0]} of {found[1]}, and in the episodes before {before[0]} of "
                    f"{before[1]}: want the same"
                )


def check_folder(path: Path) -> None:
    """Checks that there is a folder in which a file can be made.

    Args:
        path: of the file.

    Raises:
        FileNotFoundError: there is none.
    """
    if not path.absolute().parent.is_dir():
        raise FileNotFoundError(f"{path}: want a file in a folder that exists, there is no {path.parent}")


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


def best_return(returns: Tensor) -> float:
    """The highest return; with several agents, of their mean.

    Args:
        returns: (N,) or (N, P).
    """
    return returns.double().reshape(len(returns), -1).mean(-1).max().item()


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
