"""Recorded episodes in one HDF5 file, of which only the windows that are asked for are read.

The steps of all episodes stand one after the other, without padding, in chunks of some 32 KiB:

    attributes   format, version, task, action_space (JSON), obs_size, agents (0: no axis P), dtype, best_return
    length       (N,) steps of each episode
    returns      (N, *P) sum of its rewards
    obs          (sum of length + 1, ...), as each episode has a last observation
    action, reward, terminated, truncated, and optionally action_mask and info/NAME: (sum of length, ...)

They are not compressed: a batch of 64 random windows of 20 steps is read in a third of the time that LZF takes.

Shapes: N episode, B window, T step, P agent of the environment.
"""

import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from badger.datasets.hdf5 import Group, Reader, is_array, open_hdf5
from badger.datasets.sources import Episodes
from badger.datasets.spaces import space_from_json
from badger.errors import DamagedFile
from tasks import ActionSpace, Continuous, Mixed

FORMAT = "badger episodes"
"""The attribute `format` of a file of recorded episodes."""
VERSION = 1
"""The version of the format that is written, and the only one that is read."""
FIELDS = ("action", "reward", "terminated", "truncated")
"""The fields with a row for each step that every file has."""
INFO = "info/"


class _Content(NamedTuple):
    """What is known of an open file.

    Args:
        process: that has opened it: a process that is forked opens it again.
        readers: of the fields with a row for each step, and of `obs`.
    """

    process: int
    readers: dict[str, Reader]


class EpisodeFile:
    """Episodes in a file, read by windows; only their lengths and returns are in memory.

    It can be pickled: another process opens the file again.

    Args:
        path: the file.

    Raises:
        FileNotFoundError: there is none.
        DamagedFile: it is no such file, or its parts do not fit together; `EpisodeDataset.check` checks each step.
    """

    def __init__(self, path: Path):
        self.path, self.name = path, str(path)
        file = open_hdf5(path)
        self._check_format(file)
        self.task: str = self._attribute(file, "task", str)
        try:
            self.action_space: ActionSpace = space_from_json(self._attribute(file, "action_space", str))
        except DamagedFile:
            raise
        except ValueError as error:
            raise self._damaged(f"action_space {error}") from error
        lengths, returns = (self._array(file, name)[:] for name in ("length", "returns"))
        self._content = self._open(file)
        self._check_arrays(file, lengths, returns)
        self.length: Int[Tensor, " N"] = torch.from_numpy(lengths)
        self.returns: Float[Tensor, "N *P"] = torch.from_numpy(returns)
        self._first = np.concatenate([[0], lengths.cumsum()])[:-1]  # the first step of each episode in the file

    def __reduce__(self) -> tuple[type["EpisodeFile"], tuple[Path]]:
        return EpisodeFile, (self.path,)

    def read(self, rows: Int[Tensor, " B"], start: Int[Tensor, " B"], steps: int) -> Episodes:
        """As in `EpisodeSource`.

        Args:
            rows: the episodes.
            start: the first step of each.
            steps: T of the result.

        Raises:
            DamagedFile: a part of the file cannot be read.
        """
        if self._content.process != os.getpid():
            self._content = self._open(open_hdf5(self.path))
        length = (self.length[rows] - start).clamp(0, steps)
        index, count = rows.numpy(), length.numpy()
        first = self._first[index] + start.numpy()
        parts = {
            name: torch.from_numpy(
                self._windows(name, first + index, count + 1, steps + 1)  # each episode has one more observation
                if name == "obs"
                else self._windows(name, first, count, steps)
            )
            for name in self._content.readers
        }
        infos = {name.removeprefix(INFO): parts[name] for name in parts if name.startswith(INFO)}
        obs, action, reward, terminated, truncated = (parts[name] for name in ("obs", *FIELDS))
        return Episodes(obs, action, reward, terminated, truncated, length, parts.get("action_mask"), infos)

    def _windows(self, name: str, first: np.ndarray, count: np.ndarray, steps: int) -> np.ndarray:
        """(B, steps, ...) rows of a field, `count` of them from `first` on, then zeros.

        Ranges that overlap or touch are read at once, so that neighboring episodes take one read.
        """
        reader = self._content.readers[name]
        order = np.argsort(first, kind="stable")
        begin, end = first[order], np.maximum.accumulate((first + count)[order])
        is_new = np.concatenate([[True], begin[1:] > end[:-1]])[: len(order)]
        span = is_new.cumsum() - 1
        starts = begin[is_new]
        stops = end[np.concatenate([is_new[1:], [True]])[: len(order)]]
        offsets = np.concatenate([[0], (stops - starts).cumsum()])
        rows = np.zeros((offsets[-1] + 1, *reader.row), reader.dtype)  # the last one is the padding
        for k, start in enumerate(starts):
            try:
                reader.read(int(start), rows[offsets[k] : offsets[k + 1]])
            except (OSError, RuntimeError) as error:
                raise self._damaged(f"{self._place(name, int(start))}: {name} cannot be read: {error}") from error
        index = np.full((len(first), 1), offsets[-1])
        index[order, 0] = begin - starts[span] + offsets[span]
        inside = np.arange(steps) < count[:, None]
        return rows[np.where(inside, index + np.arange(steps), offsets[-1])]

    def _place(self, name: str, row: int) -> str:
        """The episode and the step of a row of a field."""
        first = self._first + np.arange(len(self._first)) if name == "obs" else self._first
        episode = int(np.searchsorted(first, row, side="right")) - 1
        return f"episode {episode}, step {row - first[episode]}"

    def _open(self, file: Group) -> _Content:
        names = ["obs", *FIELDS, *(["action_mask"] if "action_mask" in file else [])]
        infos = file.get("info", {})
        if is_array(infos):
            raise self._damaged("info is an array, want a group of arrays by name")
        names += [INFO + name for name in infos]
        return _Content(os.getpid(), {name: Reader(self._array(file, name)) for name in names})

    def _check_format(self, file: Group) -> None:
        found = file.attrs.get("format"), file.attrs.get("version")
        if found[0] != FORMAT:
            raise self._damaged(f"its attribute format is {found[0]!r}, want {FORMAT!r}: it has no recorded episodes")
        if found[1] != VERSION:
            raise self._damaged(f"it has version {found[1]} of the format, want {VERSION}: record it again")

    def _check_arrays(self, file: Group, lengths: np.ndarray, returns: np.ndarray) -> None:
        """Raises DamagedFile if the shapes and types of the parts do not fit together."""
        readers, space, agents = self._content.readers, self.action_space, returns.shape[1:]
        if lengths.dtype != np.int64 or lengths.ndim != 1 or not len(lengths):
            raise self._damaged(
                f"length is {lengths.dtype} {lengths.shape}, want whole numbers of at least one episode"
            )
        if (lengths < 1).any():
            episode = int((lengths < 1).argmax())
            raise self._damaged(f"episode {episode} has {lengths[episode]} steps, want at least 1")
        if len(returns) != len(lengths):
            raise self._damaged(f"it has {len(returns)} returns of {len(lengths)} episodes")
        numbers = isinstance(space, Continuous | Mixed)
        wanted = {"obs": "f", "action": "f" if numbers else "i", "reward": "f", "terminated": "b", "truncated": "b"}
        rows = int(lengths.sum())
        for name, reader in readers.items():
            want = rows + len(lengths) if name == "obs" else rows
            if (found := len(self._array(file, name))) != want:
                raise self._damaged(f"{name} has {found} rows, want {want}: those of {len(lengths)} episodes")
            if reader.dtype.kind != wanted.get(name, reader.dtype.kind):
                raise self._damaged(f"{name} is {reader.dtype}, and the action space is {space}")
            if name in ("reward", "terminated", "truncated") and reader.row != agents:
                raise self._damaged(f"{name} of a step is {reader.row}, of returns {agents}, want the same agents")
        want_mask = (*agents, getattr(space, "choices", space).size)
        if "action_mask" in readers and readers["action_mask"].row != want_mask:
            raise self._damaged(f"action_mask of a step is {readers['action_mask'].row}, want {want_mask} of {space}")
        if readers["action"].row != (want_row := (*agents, *action_row(space))):
            raise self._damaged(f"an action is {readers['action'].row}, want {want_row} of {space}")

    def _array(self, file: Group, name: str) -> Any:
        if name not in file or not is_array(file[name]):
            raise self._damaged(f"it has no {name}")
        return file[name]

    def _attribute(self, file: Group, name: str, kind: type) -> Any:
        value = file.attrs.get(name)
        if not isinstance(value, kind) or (isinstance(value, str) and not value.isprintable()):
            raise self._damaged(f"its attribute {name} is {value!r}, want {kind.__name__}, printable")
        return value

    def _damaged(self, problem: str) -> DamagedFile:
        return DamagedFile(f"{self.path} is damaged: {problem}", file=self.path)


def action_row(space: ActionSpace) -> tuple[int, ...]:
    """The shape of one action: (), or the number of its choices and numbers.

    Args:
        space: the action space.
    """
    if isinstance(space, Continuous):
        return (space.size,)
    if isinstance(space, Mixed):
        return (len(space.choices.nvec) + space.numbers.size,)
    return (len(space.nvec),) if hasattr(space, "nvec") else ()
