"""Whole episodes on the host: the steps of a rollout, kept until their episode ends, and their returns.

Shapes: T step, B row of the rollout, K number of a key.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

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


Rollout: TypeAlias = tuple[Trajectory, Tensor, Tensor]
"""A trajectory, the keys (T, B, K) and the estimated values (T, B) of its observations."""


class EpisodeLog:
    """The steps of the running episodes of each row, until they end; and how many there have been.

    Args:
        rows: B.
        fixed_length: steps of every episode, which then has no observation after its last step, and no value of it;
            None: episodes differ.
    """

    def __init__(self, rows: int, fixed_length: int | None):
        self.fixed_length = fixed_length
        self.running: list[list[np.ndarray]] = [[] for _ in range(rows)]  # of each row: its steps, (columns,) each
        self.env_steps = 0

    def add(self, rollouts: Sequence[Rollout], *, keep_obs: bool) -> list[Episode]:
        """Adds the steps of rollouts; returns the episodes that have ended, rollout by rollout and row by row.

        All values go to the host at once.

        Args:
            rollouts: consecutive ones, each with the keys (T, B, K) and estimated values (T, B) of its observations.
            keep_obs: False: the observations of the episodes have no numbers.
        """
        parts, key_size = [_columns(*one, keep_obs) for one in rollouts], rollouts[0][1].shape[-1]
        steps, ended = host.to_host(torch.cat(parts)), []
        self.env_steps += int(steps[..., 0].sum())
        for at_time in steps:
            for row, step in enumerate(at_time):
                valid, terminated, *_, value = step[:5]
                if valid:
                    self.running[row].append(step)
                known_end = terminated or len(self.running[row]) == self.fixed_length
                if known_end or not valid:  # a step that is not valid has the observation after the last one
                    ended += self._end(row, 0.0 if known_end else float(value), key_size)
        return ended

    def _end(self, row: int, last_value: float, key_size: int) -> list[Episode]:
        """The episode of a row, which is then empty; none where its end was known before."""
        if not self.running[row]:
            return []
        steps, self.running[row] = np.stack(self.running[row]), []
        key, obs = np.split(steps[:, 5:], [key_size], axis=1)
        return [Episode(key, steps[:, 2].astype(np.int64), steps[:, 3], np.append(steps[:, 4], last_value), obs)]

    def pack(self) -> dict[str, Any]:
        """Plain types and tensors, for a checkpoint."""
        running = [torch.from_numpy(np.stack(row)) if row else None for row in self.running]
        return {"running": running, "env_steps": self.env_steps}

    def unpack(self, packed: dict[str, Any], *, same_episodes: bool) -> None:
        """Restores a packed log.

        Args:
            packed: the dict of `pack`.
            same_episodes: False: only its counter, as other episodes have started.
        """
        self.env_steps = packed["env_steps"]
        if same_episodes:
            self.running = [[] if row is None else list(host.to_host(row)) for row in packed["running"]]


def _columns(
    trajectory: Trajectory, key: Float[Tensor, "T B K"], value: Float[Tensor, "T B"], keep_obs: bool
) -> Float[Tensor, "T B columns"]:
    numbers = [trajectory.valid, trajectory.terminated, trajectory.action, trajectory.reward, value]
    obs = [trajectory.obs.flatten(2).to(key)] * keep_obs
    return torch.cat([torch.stack([part.to(key) for part in numbers], -1), key, *obs], -1).detach()
