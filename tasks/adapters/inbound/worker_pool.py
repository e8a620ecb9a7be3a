"""Rows of a batch in worker processes, through `gymnasium.vector.AsyncVectorEnv`.

Shapes: P worker, n rows of each.
"""

import multiprocessing
import os
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn

import numpy as np

from tasks.adapters.inbound.checked_env import EnvBatch, EnvError, EnvFactory, EnvLimits
from tasks.adapters.optional_imports import require_gymnasium

TIMEOUT_GRACE = (
    5.0  # seconds that a worker gets beyond its worlds' timeouts: it interrupts them by itself, where it can
)


class WorkerPool:
    """As `EnvBatch`, with the rows shared evenly among `count` processes; a batch that they do not divide gets fewer."""

    def __init__(self, factory: EnvFactory, batch: int, limits: EnvLimits, count: int):
        gym = require_gymnasium()
        self.limits, self.parent = limits, os.getpid()
        count = max(p for p in range(1, min(batch, count) + 1) if batch % p == 0)
        self.size = batch // count
        self.seeds, self.t = np.zeros(batch, np.int64), np.zeros(batch, np.int64)
        shares = [range(first, first + self.size) for first in range(0, batch, self.size)]
        makers = [partial(EnvBatch, factory, rows, limits, self.parent) for rows in shares]
        mode = gym.vector.AutoresetMode.DISABLED
        try:
            self.vector = gym.vector.AsyncVectorEnv(makers, autoreset_mode=mode)
        except (EOFError, OSError) as error:
            raise EnvError(f"{limits.name}: a worker died as it made its copies; what it wrote is above") from error

    def reset(self, *, options: dict[str, Any]) -> tuple[dict[str, Any]]:
        self.seeds[options["mask"]] = np.asarray(options["seeds"])[options["mask"]]
        self.t[options["mask"]] = 0
        return self._request(lambda: self.vector.reset_async(options=options), self.vector.reset_wait)

    def step(self, action: np.ndarray) -> tuple[dict[str, Any]]:
        self.t += 1
        shares = action.reshape(-1, self.size, *action.shape[1:])
        return self._request(lambda: self.vector.step_async(shares), self.vector.step_wait)

    def _request(self, ask: Callable[[], None], wait: Callable[..., tuple]) -> tuple[dict[str, Any]]:
        limit = self.limits.timeout
        try:
            ask()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # gymnasium warns of the error that it then raises
                told = wait(timeout=None if limit is None else limit * self.size + TIMEOUT_GRACE)[0]
        except multiprocessing.TimeoutError:
            late = [i for i, pipe in enumerate(self.vector.parent_pipes) if not pipe.poll()]
            self._raise_for(late, f"did not answer, and could not be interrupted, within {limit} s for each row")
        except (EOFError, OSError):
            for process in self.vector.processes:
                process.join(0.1)
            dead = [i for i, process in enumerate(self.vector.processes) if not process.is_alive()]
            codes = [self.vector.processes[i].exitcode for i in dead]
            self._raise_for(dead, f"died with exit code {codes}; what was written before that is above")
        return (_flat(told),)

    def _raise_for(self, workers: list[int], what: str) -> NoReturn:
        rows = [row for i in workers for row in range(i * self.size, (i + 1) * self.size)]
        known = ", ".join(f"{row} (seed {self.seeds[row]}, step {self.t[row]})" for row in rows)
        raise EnvError(f"{self.limits.name}: the worker of row {known} {what}") from None

    def close(self) -> None:
        """Asks the workers to close their worlds."""
        self.vector.close()

    def kill(self) -> None:
        """Ends the workers, whatever they do: one that hangs or has died cannot be asked."""
        for process in self.vector.processes:
            process.kill()
            process.join()
        for pipe in self.vector.parent_pipes:
            if pipe is not None:  # those of workers that told of an error are closed
                pipe.close()
        self.vector.closed = True


def _flat(told: Any) -> Any:
    """(P, n, ...) arrays become (P * n, ...)."""
    if isinstance(told, dict):
        return {name: _flat(part) for name, part in told.items()}
    if isinstance(told, tuple):
        return tuple(_flat(part) for part in told)
    return told.reshape(-1, *told.shape[2:])
