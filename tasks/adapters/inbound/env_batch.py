"""A batch of copies of an environment that are stepped sequentially; each worker process has one.

This module also runs in worker processes; it does not import torch.

Shapes: n rows.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from tasks.adapters.inbound.checked_env import CallTimes, CheckedEnv, EnvError, EnvFactory, EnvLimits
from tasks.adapters.inbound.spaces.stacking import stack_observations, update_rows


class EnvBatch:
    """A batch of copies that are stepped sequentially.

    Its results are dicts: obs (`stack_observations`), reward, terminated and truncated (n,), and action_mask, a list of
    those that the infos have, or None.

    Args:
        factory: returns one copy.
        rows: their numbers in the whole batch.
        limits: of an episode and of a call.
        call_times: see `CheckedEnv`.
        seed_process: see `CheckedEnv`.

    Raises:
        EnvError: a copy could not be constructed, or its spaces differ from those of others.
    """

    def __init__(
        self,
        factory: EnvFactory,
        rows: range,
        limits: EnvLimits,
        call_times: CallTimes = None,
        *,
        seed_process: Callable[[int], None] | None = None,
    ):
        self.limits = limits
        self.envs = [CheckedEnv(factory, row, limits, call_times, seed_process=seed_process) for row in rows]
        self.spaces = self.envs[0].spaces
        for env in self.envs:
            check_spaces(limits.name, env.row, env.spaces, self.spaces)
        self.last_step: dict[str, Any] = {}

    def reset(self, mask: np.ndarray, seeds: np.ndarray) -> dict[str, Any]:
        """Starts episodes in some rows; the others repeat their last results.

        Args:
            mask: (n,) the rows.
            seeds: (n,) of the episodes.

        Raises:
            EnvError: an environment raised, timed out, or returned an invalid observation.
        """
        rows = np.flatnonzero(mask)
        for row in rows.tolist():
            self.envs[row].reset(int(seeds[row]))
        if len(rows) == len(self.envs):
            self.last_step = self._results(self._stack(self.envs))
        elif len(rows):
            new = self._stack([self.envs[row] for row in rows.tolist()])
            self.last_step = self._results(update_rows(self.last_step["obs"], rows, new))
        return self.last_step

    def step(self, actions: Sequence[Any] | np.ndarray) -> dict[str, Any]:
        """Advances all rows whose episodes have not ended.

        Args:
            actions: one for each row.

        Raises:
            EnvError: an environment raised, timed out, or returned an invalid value.
        """
        for env, action in zip(self.envs, actions, strict=True):
            env.step(action)
        self.last_step = self._results(self._stack(self.envs))
        return self.last_step

    def close(self) -> None:
        """Closes the environments."""
        for env in self.envs:
            env.close()

    def kill(self) -> None:
        """Closes the copies and ignores errors, as an environment that has failed may also fail to close."""
        for env in self.envs:
            with suppress(Exception):
                env.close()

    def _stack(self, envs: list[CheckedEnv]) -> Any:
        """The last observations of some rows; the row of an invalid one is looked for."""
        try:
            return stack_observations(self.spaces[0], [env.obs for env in envs])
        except Exception:  # of whatever kind: observations may be anything
            for env in envs:
                env.check()
            raise

    def _results(self, obs: Any) -> dict[str, Any]:
        return {
            "obs": obs,
            "reward": np.array([env.reward for env in self.envs]),
            "terminated": np.array([env.terminated for env in self.envs]),
            "truncated": np.array([env.truncated for env in self.envs]),
            "action_mask": [env.mask for env in self.envs] if self.limits.action_mask else None,
        }


def check_spaces(name: str, row: int, spaces: tuple[Any, Any], first: tuple[Any, Any]) -> None:
    """Checks that a copy has the spaces of the first one.

    Args:
        name: of the environment.
        row: of the copy.
        spaces: its observation and action space.
        first: those of row 0.

    Raises:
        EnvError: it has others.
    """
    if spaces != first:
        raise EnvError(f"{name}, row {row} has the spaces {spaces}, want {first}, those of row 0", env=name, row=row)
