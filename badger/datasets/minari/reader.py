"""Data sets in Minari's format, a folder with metadata.json and main_data.hdf5, read by windows.

Episodes are groups of the file, `episode_0` and so on, with observations (one more than steps), actions, rewards,
terminations and truncations. Of the infos, numbers that every episode has in each step are read: `action_mask` as the
mask of the policy, others as `Episodes.info`. An episode takes several reads; `EpisodeDataset.save` copies such a data
set to a file that is faster.

Shapes: N episode, B window, T step.

Source: Younis et al. 2024, Minari; format of version 0.5.
"""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from badger.datasets.hdf5 import Group, is_array, open_hdf5
from badger.datasets.minari.actions import read_action_space
from badger.datasets.minari.spaces import read_obs_space
from badger.datasets.sources import Episodes
from badger.errors import DamagedFile
from tasks import ActionSpace

METADATA, MAIN_DATA, MASK = "metadata.json", "main_data.hdf5", "action_mask"
TASK = "badger_task"
"""The name of the task in the metadata of a data set that was recorded here."""
STEP_FIELDS = {"rewards": 0, "terminations": 0, "truncations": 0, "observations": 1}
"""Rows of each field beyond one for each step."""


class MinariFolder:
    """Episodes in a folder of Minari, read by windows; only their lengths and returns are in memory.

    It can be pickled: another process opens the folder again.

    Args:
        path: the folder of the data set, or its folder `data`.

    Raises:
        FileNotFoundError: it is no such folder.
        DamagedFile: a part is missing, or its lengths and shapes do not fit together.
        ValueError: spaces other than Box and Discrete observations, and actions of Discrete, MultiDiscrete and Box.
    """

    def __init__(self, path: Path):
        self.path, self.name = path, str(path)
        self._folder = path / "data" if (path / "data").is_dir() else path
        metadata = self._read_metadata()
        try:
            self._action, self._obs = read_action_space(metadata["action_space"]), read_obs_space(
                metadata["observation_space"]
            )  # fmt: skip
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        except (KeyError, TypeError, AttributeError, RecursionError) as error:
            raise self._damaged(f"a space in its metadata cannot be read, {type(error).__name__}: {error}") from error
        self.action_space: ActionSpace = self._action.space
        task = str(metadata.get(TASK, metadata.get("dataset_id", "")))
        self.task = task if task.isprintable() else ""
        self._process, self._file = os.getpid(), self._open()
        groups = [self._group(i) for i in range(int(metadata["total_episodes"]))]
        if not groups:
            raise self._damaged("it has no episodes")
        self._infos = self._common_infos(groups)
        lengths = [self._check_episode(i, group) for i, group in enumerate(groups)]
        self.length: Int[Tensor, " N"] = torch.tensor(lengths)
        rewards = (group["rewards"][:].astype(self._obs.dtype) for group in groups)
        totals = [reward.astype(np.float64).cumsum()[-1].astype(reward.dtype) for reward in rewards]
        self.returns: Float[Tensor, " N"] = torch.from_numpy(np.array(totals))

    def __reduce__(self) -> tuple[type["MinariFolder"], tuple[Path]]:
        return MinariFolder, (self.path,)

    def read(self, rows: Int[Tensor, " B"], start: Int[Tensor, " B"], steps: int) -> Episodes:
        """As in `EpisodeSource`.

        Args:
            rows: the episodes.
            start: the first step of each.
            steps: T of the result.
        """
        if self._process != os.getpid():
            self._process, self._file = os.getpid(), self._open()
        length = (self.length[rows] - start).clamp(0, steps)
        spans = list(zip(rows.tolist(), start.tolist(), length.tolist(), strict=True))
        obs, dtype = self._obs, self._obs.dtype
        action = self._padded_actions(spans, steps)
        infos = {name: self._padded(spans, f"infos/{name}", steps, None) for name in self._infos}
        return Episodes(
            self._padded(spans, "observations", steps, obs.decode),
            action.to(torch.int64) if action.dtype == torch.int32 else action,
            self._padded(spans, "rewards", steps, lambda reward: reward.astype(dtype)),
            self._padded(spans, "terminations", steps, None),
            self._padded(spans, "truncations", steps, None),
            length,
            infos.pop(MASK).bool() if MASK in infos else None,
            infos,
        )

    def _padded(self, spans: list[tuple[int, int, int]], name: str, steps: int, decode: Any) -> Tensor:
        """(B, steps, ...) rows of a field; one more of observations; of infos those after the actions."""
        more, skipped = STEP_FIELDS.get(name, 0), int(name.startswith("infos/") and name != f"infos/{MASK}")
        parts = [self._rows(row, name, start + skipped, length + more) for row, start, length in spans]
        parts = [part if decode is None else decode(part) for part in parts]
        sample = parts[0] if parts else self._decoded_row(name, decode)
        return torch.from_numpy(_pad(parts, steps + more, sample))

    def _padded_actions(self, spans: list[tuple[int, int, int]], steps: int) -> Tensor:
        """(B, steps, ...) actions, of whose parts each has an array."""
        parts = [
            self._action.decode([self._rows(row, name, start, length) for name in self._action.shapes])
            for row, start, length in spans
        ]
        sample = parts[0] if parts else self._action.decode([self._rows(0, name, 0, 1) for name in self._action.shapes])
        return torch.from_numpy(_pad(parts, steps, sample))

    def _decoded_row(self, name: str, decode: Any) -> np.ndarray:
        row = self._rows(0, name, 0, 1)
        return row if decode is None else decode(row)

    def _rows(self, episode: int, name: str, start: int, count: int) -> np.ndarray:
        try:
            return self._file[f"episode_{episode}/{name}"][start : start + count]
        except (OSError, RuntimeError, KeyError) as error:
            raise self._damaged(f"episode {episode}, step {start}: {name} cannot be read: {error}") from error

    def _common_infos(self, groups: list[Group]) -> list[str]:
        """The numbers of the infos that every episode has, with a row for each observation."""
        names: set[str] | None = None
        for group in groups:
            infos = group.get("infos") or {}
            rows = len(group["rewards"]) + 1 if "rewards" in group else -1
            fit = {name for name, value in infos.items() if is_array(value) and value.dtype.kind in "biuf"
                   and value.shape[:1] == (rows,)}  # fmt: skip
            names = fit if names is None else names & fit
        return sorted(names or ())

    def _check_episode(self, number: int, group: Group) -> int:
        """The steps of an episode; raises DamagedFile if its parts do not fit together."""
        actions = dict.fromkeys(self._action.shapes, 0)
        for name in (*STEP_FIELDS, *actions):
            if name not in group or not is_array(group[name]):
                kind = "a group, not an array" if name in group else "missing"
                raise self._damaged(f"episode {number}: {name} is {kind}")
        length = len(group["rewards"])
        if length < 1:
            raise self._damaged(f"episode {number} has no steps, want at least 1")
        for name, more in (STEP_FIELDS | actions).items():
            if (found := len(group[name])) != length + more:
                raise self._damaged(f"episode {number}: {found} {name} and {length} rewards, want {length + more}")
        for name, shape in {"observations": self._obs.shape, **self._action.shapes}.items():
            if (found := group[name].shape[1:]) != shape:
                images = "; JPEG images are not read" if name == "observations" and len(shape) in (2, 3) else ""
                raise self._damaged(f"episode {number}: {name} have shape {found}, want {shape}{images}")
        return length

    def _group(self, number: int) -> Group:
        if f"episode_{number}" not in self._file:
            raise self._damaged(f"episode {number} is missing")
        return self._file[f"episode_{number}"]

    def _open(self) -> Group:
        return open_hdf5(self._folder / MAIN_DATA)

    def _read_metadata(self) -> dict[str, Any]:
        file = self._folder / METADATA
        if not file.exists():
            raise FileNotFoundError(f"{self.path} holds no data set of Minari: there is no {file}")
        try:
            metadata = json.loads(file.read_bytes().decode())
        except (ValueError, RecursionError) as error:
            raise DamagedFile(f"{file} is damaged: {error}", file=file) from error
        wanted = {"total_episodes": int, "observation_space": str, "action_space": str}
        for name, kind in wanted.items():
            if not isinstance(metadata, dict) or not isinstance(metadata.get(name), kind):
                raise DamagedFile(f"{file} is damaged: it has no {name}, or of another type", file=file, place=name)
        return metadata

    def _damaged(self, problem: str) -> DamagedFile:
        return DamagedFile(f"{self.path} is damaged: {problem}", file=self.path)


def _pad(parts: list[np.ndarray], rows: int, sample: np.ndarray) -> np.ndarray:
    """(B, rows, ...) arrays with zeros behind them; sample: gives shape and type of a row."""
    whole = np.zeros((len(parts), rows, *sample.shape[1:]), sample.dtype)
    for k, part in enumerate(parts):
        whole[k, : len(part)] = part
    return whole
