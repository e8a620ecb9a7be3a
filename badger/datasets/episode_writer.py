"""Writes recorded episodes to a file, batch by batch, so that recordings of any length need the memory of one batch.

Shapes: N episode, T step, P agent of the environment.
"""

import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from badger.datasets.episode_file import FORMAT, INFO, VERSION
from badger.datasets.hdf5 import append, create_growing, create_hdf5
from badger.datasets.sources import Episodes
from badger.datasets.spaces import space_to_json
from badger.datasets.writer import Writer, check_first, to_numpy
from tasks import ActionSpace

Rows = dict[str, np.ndarray]


class EpisodeWriter(Writer):
    """Writes episodes to one HDF5 file; one of this name is replaced when all are written.

    Args:
        path: the file.
        action_space: of the task.
        task: its name.

    Raises:
        OSError: the file cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str], action_space: ActionSpace, task: str = ""):
        super().__init__(path, action_space, task)
        self._best = -np.inf
        self._file = create_hdf5(self._temporary)

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

    def _finish(self) -> list[Path]:
        self._file.attrs["best_return"] = self._best
        self._file.close()
        return [self._temporary]

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


def best_return(returns: Tensor) -> float:
    """The highest return; with several agents, of their mean.

    Args:
        returns: (N,) or (N, P).
    """
    return returns.double().reshape(len(returns), -1).mean(-1).max().item()
