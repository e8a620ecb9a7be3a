"""Whole episodes on the host: the steps of a rollout, kept until their episode ends, and their returns.

Shapes: T step, B row of the rollout, K number of a key.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from badger.learners import host
from badger.rollouts.trajectory import Trajectory


class Episode(NamedTuple):
    """An episode that has ended, on the host.

    Args:
        key: (T, K).
        action: (T,).
        reward: (T,).
        value: (T + 1,) estimates of the observations; the last is 0 after a termination.
        obs: (T, numbers of an observation).
    """

    key: np.ndarray
    action: np.ndarray
    reward: np.ndarray
    value: np.ndarray
    obs: np.ndarray

    def returns(self, *, gamma: float, n: int) -> np.ndarray:
        """(T,) discounted rewards of n steps, or of those to the end, and the value of the observation after them.

        Args:
            gamma: discount factor of a step.
            n: number of steps; 0: all.
        """
        result, steps = self.value.copy(), len(self.reward)
        if 0 < n < steps:
            for _ in range(n):
                result[:-1] = self.reward + gamma * result[1:]
        else:
            for t in reversed(range(steps)):
                result[t] = self.reward[t] + gamma * result[t + 1]
        return result[:-1]


class EpisodeLog:
    """The steps of the running episodes of each row, until they end.

    Args:
        rows: B.
    """

    def __init__(self, rows: int):
        self.running: list[list[np.ndarray]] = [[] for _ in range(rows)]  # of each row: pieces (steps, columns)

    def add(
        self,
        trajectory: Trajectory,
        key: Float[Tensor, "T B K"],
        value: Float[Tensor, "T B"],
        *,
        fixed_end: bool,
        keep_obs: bool,
    ) -> list[Episode]:
        """Adds the steps of a rollout; returns the episodes that have ended, in the order of rows.

        All values go to the host at once.

        Args:
            trajectory: of one agent.
            key: of each observation.
            value: estimate of each observation.
            fixed_end: the last step ends all episodes, whose length is fixed: nothing follows it.
            keep_obs: False: the observations of the episodes have no numbers.
        """
        obs, key_size = trajectory.obs.flatten(2), key.shape[-1]
        numbers = [trajectory.valid, trajectory.terminated, trajectory.action, trajectory.reward, value]
        parts = [torch.stack([part.to(key) for part in numbers], -1), key, *[obs.to(key)] * keep_obs]
        columns = torch.cat(parts, -1)
        ended = []
        for row, steps in enumerate(host.to_host(columns.detach()).swapaxes(0, 1)):
            start = 0
            for t in np.flatnonzero(steps[:, 0] == 0):  # the step after the end, which has the last observation
                ended += self._end(row, steps[start:t], steps[t, 4], key_size)
                start = t + 1
            if start < len(steps):
                self.running[row].append(steps[start:])
            if fixed_end:
                ended += self._end(row, steps[:0], 0.0, key_size)
        return ended

    def _end(self, row: int, steps: np.ndarray, last_value: float, key_size: int) -> list[Episode]:
        whole = np.concatenate([*self.running[row], steps])
        self.running[row] = []
        if not len(whole):
            return []
        last = 0.0 if whole[-1, 1] else last_value
        value = np.append(whole[:, 4], last)
        key, obs = np.split(whole[:, 5:], [key_size], axis=1)
        return [Episode(key, whole[:, 2].astype(np.int64), whole[:, 3], value, obs)]

    def pack(self) -> dict[str, Any]:
        """Plain types and tensors, for a checkpoint."""
        return {"running": [[torch.from_numpy(piece.copy()) for piece in row] for row in self.running]}

    def unpack(self, packed: dict[str, Any]) -> None:
        """Restores a packed log.

        Args:
            packed: the dict of `pack`.
        """
        self.running = [[host.to_host(piece) for piece in row] for row in packed["running"]]
