"""Writes episodes of one agent as a data set of Minari, batch by batch.

`minari.load_dataset(NAME)` reads it where MINARI_DATASETS_PATH is the folder around it. Action masks and infos are kept
as infos, which have a row for each observation: a mask belongs to the observation before the action, and allows all in
the last one; another info belongs to the one after it, and is 0 or NaN in the first.

Shapes: N episode, T step.
"""

import json
import os
import re
from pathlib import Path

import numpy as np
import torch

from badger.datasets.hdf5 import create_hdf5
from badger.datasets.minari.actions import encode_actions, write_action_space
from badger.datasets.minari.reader import MAIN_DATA, MASK, METADATA, TASK
from badger.datasets.minari.spaces import write_box
from badger.datasets.sources import Episodes
from badger.datasets.writer import Writer, check_first, to_numpy
from tasks import ActionSpace

NAME = re.compile(r"[-_\w]+-v\d+")
"""The names that Minari accepts for a data set."""
MINARI_VERSION = "0.5.0"
"""The oldest version that reads what is written; newer ones do, too."""


class MinariWriter(Writer):
    """Writes episodes to a new folder.

    Args:
        path: the folder, whose name is that of the data set, such as data-v0.
        action_space: of the task.
        task: its name.

    Raises:
        ValueError: a name that Minari does not accept.
        FileExistsError: the folder exists.
    """

    def __init__(self, path: str | os.PathLike[str], action_space: ActionSpace, task: str = ""):
        super().__init__(path, action_space, task)
        check_minari(self.path, None)
        if self.path.exists():
            raise FileExistsError(f"{self.path} exists: choose another folder, or delete it")
        self._spaces: dict[str, str] = {}
        (self._temporary / "data").mkdir(parents=True)
        self._file = create_hdf5(self._temporary / "data" / MAIN_DATA)

    def append(self, episodes: Episodes) -> None:
        """Appends whole episodes.

        Args:
            episodes: right-padded to any length.

        Raises:
            ValueError: several agents, an episode without steps, or numbers of a type that HDF5 does not have.
        """
        check_first(episodes, self.action_space, self.episodes)
        agents = episodes.reward.shape[2] if episodes.reward.dim() == 3 else None
        check_minari(self.path, agents)
        fields = {
            "observations": episodes.obs, "rewards": episodes.reward, "terminations": episodes.terminated,
            "truncations": episodes.truncated,
        }  # fmt: skip
        arrays, action = {name: to_numpy(name, values) for name, values in fields.items()}, episodes.action
        arrays |= encode_actions(self.action_space, to_numpy("actions", action))
        infos = {name: to_numpy(name, values) for name, values in self._infos(episodes).items()}
        obs = arrays["observations"]
        self._spaces = {
            "observation_space": write_box(obs.shape[2:], obs.dtype, -np.inf, np.inf),
            "action_space": write_action_space(self.action_space, to_numpy("actions", action[:0]).dtype),
        }
        for row, length in enumerate(episodes.length.tolist()):
            group = self._file.create_group(f"episode_{self.episodes}")
            group.attrs.update({"id": self.episodes, "total_steps": length})
            for name, values in arrays.items():
                group[name] = values[row, : length + (name == "observations")]
            for name, values in infos.items():
                group[f"infos/{name}"] = values[row, : length + 1]
            if MASK in infos:
                group[f"infos/{MASK}"][length] = True
            self.episodes += 1
            self.steps += length

    def _finish(self) -> list[Path]:
        self._file.close()
        data = self._temporary / "data"
        metadata = {
            "total_episodes": self.episodes, "total_steps": self.steps, "data_format": "hdf5",
            "jpeg_encoding": False, **self._spaces, "dataset_id": self.path.name,
            "minari_version": MINARI_VERSION, "dataset_size": round((data / MAIN_DATA).stat().st_size / 1e6, 1),
            TASK: self.task,
        }  # fmt: skip
        (data / METADATA).write_text(json.dumps(metadata))
        return [data / MAIN_DATA, data / METADATA, data]

    def _infos(self, episodes: Episodes) -> dict[str, torch.Tensor]:
        """Infos with a row for each observation."""
        infos = {}
        for name, values in episodes.info.items():
            missing = torch.nan if values.is_floating_point() else 0
            infos[name] = torch.cat([torch.full_like(values[:, :1], missing), values], 1)
        if episodes.action_mask is not None:
            infos[MASK] = torch.cat([episodes.action_mask, torch.zeros_like(episodes.action_mask[:, :1])], 1)
        return infos


def check_minari(path: Path, agents: int | None) -> None:
    """Checks what a data set of Minari can hold.

    Args:
        path: its folder.
        agents: of the environment.

    Raises:
        ValueError: says what it cannot.
    """
    if not NAME.fullmatch(path.name):
        raise ValueError(f"out={path}, want a folder whose name Minari accepts, such as {path.stem or 'data'}-v0")
    if agents is not None:
        raise ValueError(f"the environment has {agents} agents, and a data set of Minari has one: use out_format=hdf5")
