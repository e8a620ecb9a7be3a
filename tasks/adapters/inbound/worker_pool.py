"""A batch of environments in worker processes, through `gymnasium.vector.AsyncVectorEnv`.

Shapes: P worker, n rows of a worker.
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

TIMEOUT_GRACE = 5.0  # seconds to wait beyond the timeouts of a worker's rows, which the worker interrupts if it can


class WorkerPool:
    """As `EnvBatch`, with rows split evenly over at most `count` processes; their number divides the batch."""

    def __init__(self, factory: EnvFactory, batch: int, limits: EnvLimits, count: int):
        gym = require_gymnasium()
        self.limits, self.parent = limits, os.getpid()
        count = max(p for p in range(1, min(batch, count) + 1) if batch % p == 0)
        self.size = batch // count
        self.seeds, self.t = np.zeros(batch, np.int64), np.zeros(batch, np.int64)
        rows_of_each = [range(first, first + self.size) for first in range(0, batch, self.size)]
        factories = [partial(EnvBatch, factory, rows, limits, self.parent) for rows in rows_of_each]
        mode = gym.vector.AutoresetMode.DISABLED
        try:
            self.vector = gym.vector.AsyncVectorEnv(factories, autoreset_mode=mode)
        except (EOFError, OSError) as error:
            raise EnvError(
                f"{limits.name}: a worker process died while constructing its copies; see its output above"
            ) from error

    def reset(self, *, options: dict[str, Any]) -> tuple[dict[str, Any]]:
        self.seeds[options["mask"]] = np.asarray(options["seeds"])[options["mask"]]
        self.t[options["mask"]] = 0
        return self._request(lambda: self.vector.reset_async(options=options), self.vector.reset_wait)

    def step(self, action: np.ndarray) -> tuple[dict[str, Any]]:
        self.t += 1
        actions = action.reshape(-1, self.size, *action.shape[1:])
        return self._request(lambda: self.vector.step_async(actions), self.vector.step_wait)

    def _request(self, send: Callable[[], None], wait: Callable[..., tuple]) -> tuple[dict[str, Any]]:
        timeout = self.limits.timeout
        try:
            send()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # gymnasium warns before it raises the same error
                results = wait(timeout=None if timeout is None else timeout * self.size + TIMEOUT_GRACE)[0]
        except multiprocessing.TimeoutError:
            timed_out = [i for i, pipe in enumerate(self.vector.parent_pipes) if not pipe.poll()]
            self._raise_for(timed_out, f"did not respond within {timeout} s per row, and could not be interrupted")
        except (EOFError, OSError):
            for process in self.vector.processes:
                process.join(0.1)
            dead = [i for i, process in enumerate(self.vector.processes) if not process.is_alive()]
            codes = [self.vector.processes[i].exitcode for i in dead]
            self._raise_for(dead, f"died with exit code {codes}; see its output above")
        return (_flatten_workers(results),)

    def _raise_for(self, workers: list[int], problem: str) -> NoReturn:
        rows = [row for i in workers for row in range(i * self.size, (i + 1) * self.size)]
        described = ", ".join(f"{row} (seed {self.seeds[row]}, step {self.t[row]})" for row in rows)
        raise EnvError(f"{self.limits.name}: the worker of row {described} {problem}") from None

    def close(self) -> None:
        """Closes the environments and the workers."""
        self.vector.close()

    def kill(self) -> None:
        """Kills the workers, as one that hangs or has died cannot close its environments."""
        for process in self.vector.processes:
            process.kill()
            process.join()
        for pipe in self.vector.parent_pipes:
            if pipe is not None:  # already closed for workers that raised an error
                pipe.close()
        self.vector.closed = True


def _flatten_workers(values: Any) -> Any:
    """Reshapes arrays (P, n, ...) to (P * n, ...), in nested dicts and tuples."""
    if isinstance(values, dict):
        return {name: _flatten_workers(part) for name, part in values.items()}
    if isinstance(values, tuple):
        return tuple(_flatten_workers(part) for part in values)
    return values.reshape(-1, *values.shape[2:])
