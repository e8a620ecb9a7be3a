"""A data set of recorded episodes, in memory or in a file.

Shapes: N episode, B row of a batch, T step, P agent of the environment.
"""

import os
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from badger.datasets.checks import check_steps
from badger.datasets.episode_file import action_row
from badger.datasets.episode_writer import best_return
from badger.datasets.formats import open_source, open_writer
from badger.datasets.sources import Episodes, EpisodesInMemory, EpisodeSource, MissingEpisodes
from tasks import ActionSpace, Continuous, Mixed, Task

SAVED_EPISODES = 256
"""Episodes that `EpisodeDataset.save` copies at once."""


class EpisodeDataset:
    """Recorded episodes of one task, in memory or in a file.

    Args:
        source: where the episodes are.
        action_space: of the task.
        task: its name, for messages and files.
    """

    def __init__(self, source: EpisodeSource, action_space: ActionSpace, task: str = ""):
        self.source, self.action_space, self.task = source, action_space, task

    @classmethod
    def from_episodes(cls, episodes: Episodes, action_space: ActionSpace, task: str = "") -> "EpisodeDataset":
        """A data set in memory.

        Args:
            episodes: the episodes.
            action_space: of the task.
            task: its name.
        """
        return cls(EpisodesInMemory(episodes), action_space, task)

    @classmethod
    def missing(cls, path: str | os.PathLike[str], task: Task) -> "EpisodeDataset":
        """A stand-in for a file that does not exist, with which a trained agent can be judged.

        Args:
            path: the file.
            task: that was recorded.
        """
        agents = () if task.agents is None else (task.agents,)
        zeros = torch.zeros(1, 1, *agents, dtype=task.dtype)
        end = torch.ones_like(zeros, dtype=torch.bool)
        obs = zeros.new_zeros(1, 2, *agents, task.obs_size)
        real = isinstance(task.action_space, Continuous | Mixed)
        action = zeros.new_zeros(1, 1, *agents, *action_row(task.action_space), dtype=None if real else torch.long)
        episode = Episodes(obs, action, zeros, end, ~end, torch.ones(1, dtype=torch.long))
        return cls(MissingEpisodes(str(path), episode), task.action_space)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "EpisodeDataset":
        """A data set in a file, of which the windows that are asked for are read; only lengths and returns are kept.

        Args:
            path: file of `save` or `badger record`, or folder of a data set of Minari.

        Raises:
            FileNotFoundError: there is none.
            ValueError: a data set of Minari with spaces that are not read.
            DamagedFile: it has no recorded episodes, another version of the format, or parts that do not fit together.
                `check` looks at each step.
        """
        source = open_source(Path(path))
        return cls(source, source.action_space, source.task)

    def save(self, path: str | os.PathLike[str], out_format: str = "hdf5") -> None:
        """Writes all episodes to one HDF5 file; a file of that name is replaced once the new one is complete.

        Args:
            path: the file.
            out_format: "minari": to a new folder that Minari reads, instead; see `badger.datasets.minari.writer`.

        Raises:
            ValueError: there is no episode, a type of numbers that HDF5 does not have, or what Minari cannot hold.
            FileExistsError: the folder of a data set of Minari exists.
            OSError: that of the system.
        """
        with open_writer(Path(path), out_format, self.action_space, self.task) as writer:
            for rows in torch.arange(len(self)).split(SAVED_EPISODES):
                writer.append(self[rows])

    def check(self) -> None:
        """Checks each step, slice by slice.

        Raises:
            DamagedFile: names the first episode and step with NaN, an infinity, a choice that the action space does not
                have or the action mask forbids, an end in the middle of the episode, or a last step without one.
        """
        check_steps(self.source, self.action_space)

    def check_exists(self) -> None:
        """Checks that there is something to learn from.

        Raises:
            FileNotFoundError: the file does not exist.
        """
        if isinstance(self.source, MissingEpisodes):
            raise FileNotFoundError(
                f"data={self.source.name}: no such file to learn from; put it there or into the current folder, or "
                "record one: badger record --help"
            )

    def check_task(self, task: Task) -> None:
        """Checks that observations, actions and agents are those of a task.

        Args:
            task: in which an agent is to act that learned from these episodes.

        Raises:
            ValueError: says what differs.
        """
        name = type(task).__name__
        for what, found, wanted in (
            ("observations of size", self.obs_size, task.obs_size),
            ("actions", self.action_space, task.action_space),
            ("agents:", self.agents, task.agents),
        ):
            if found != wanted:
                raise ValueError(
                    f"{self.source.name} has {what} {found}, and {name} {wanted}: want the task that was recorded"
                    + (f", {self.task}" if self.task else "")
                )

    def __len__(self) -> int:
        return len(self.length)

    def __repr__(self) -> str:
        of = f" of {self.task}" if self.task else ""
        return f"{type(self).__name__}({len(self)} episodes{of}, {int(self.length.sum())} steps)"

    @property
    def length(self) -> Int[Tensor, " N"]:
        """The number of steps of each episode."""
        return self.source.length

    @property
    def returns(self) -> Float[Tensor, "N *P"]:
        """The sum of the rewards of each episode."""
        return self.source.returns

    @property
    def best_return(self) -> float:
        """The highest return; with several agents, of their mean."""
        return best_return(self.returns)

    @property
    def obs_size(self) -> int:
        """The size O of an observation."""
        return self._no_steps.obs.shape[-1]

    @property
    def agents(self) -> int | None:
        """The number P of agents of the environment; None for a single agent, whose shapes have no axis P."""
        return self.returns.shape[1] if self.returns.dim() == 2 else None

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of observations."""
        return self._no_steps.obs.dtype

    @property
    def _no_steps(self) -> Episodes:
        """No episode, for shapes and types."""
        return self.windows(torch.arange(0), torch.arange(0), 0)

    def __getitem__(self, rows: Int[Tensor, " B"] | slice | int) -> Episodes:
        """Whole episodes, padded to the longest of them; of one number a batch of 1."""
        rows = torch.arange(len(self))[rows].reshape(-1)
        steps = int(self.length[rows].max()) if len(rows) else 0
        return self.windows(rows, torch.zeros_like(rows), steps)

    def windows(self, rows: Int[Tensor, " B"], start: Int[Tensor, " B"], steps: int) -> Episodes:
        """Pieces of episodes; `length` of the result is the number of their steps that are not padding.

        Args:
            rows: the episodes, in order, possibly several times.
            start: the first step of each, from 0 to the length of the episode.
            steps: T of the result.

        Raises:
            ValueError: no such episode, or a first step outside of it.
        """
        unknown = (rows < 0) | (rows >= len(self))
        if unknown.any():
            raise ValueError(f"rows has episode {int(rows[unknown][0])}, want 0 to {len(self) - 1}")
        outside = (start < 0) | (start > self.length[rows])
        if outside.any():
            k = int(outside.long().argmax())
            length = int(self.length[rows[k]])
            raise ValueError(f"start={int(start[k])} of episode {int(rows[k])}, want 0 to {length}, the steps it has")
        return self.source.read(rows, start, steps)
