"""A batch of environments in worker processes. A row that hangs, raises or dies is named, and costs one timeout.

A step is one message to each worker, and one answer for all its rows; arrays of results are in shared memory
(`tasks.adapters.inbound.workers.shared_results`). So is the time of each call, so that this process knows in which row
a worker is, and for how long.

Shapes: B episode.
"""

import math
import multiprocessing
import signal
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing import util
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

import numpy as np

from tasks.adapters.inbound.checked_env import EnvError, EnvFactory, EnvLimits
from tasks.adapters.inbound.env_batch import check_spaces
from tasks.adapters.inbound.workers.env_worker import SHARE, row_in_call, run_worker
from tasks.adapters.inbound.workers.memory_file import allocate, send_file
from tasks.adapters.inbound.workers.shared_results import Layout, SharedResults
from tasks.adapters.optional_imports import require_gymnasium

MIN_CONSTRUCTOR_TIMEOUT = 60.0  # seconds: a constructor may import libraries and read files
TIMEOUT_GRACE = 0.5  # seconds to wait beyond the timeout of a call, which the worker interrupts if it can


class WorkerPool:
    """As `EnvBatch`, with rows split evenly over at most `count` processes; their number divides the batch.

    Raises:
        EnvError: a copy could not be constructed, or its spaces differ from those of others.
    """

    def __init__(self, factory: EnvFactory, batch: int, limits: EnvLimits, count: int):
        self.limits, context = limits, multiprocessing.get_context()
        count = max(p for p in range(1, min(batch, count) + 1) if batch % p == 0)
        self.rows = [range(first, first + batch // count) for first in range(0, batch, batch // count)]  # of a worker
        self.seeds, self.t = np.zeros(batch, np.int64), np.zeros(batch, np.int64)
        shared = context.RawArray("d", batch)
        self.call_times = np.frombuffer(shared)  # (B,), by time.monotonic(), which all processes share
        self.processes: list[BaseProcess] = []
        self.pipes: list[Connection] = []
        self.shared: SharedResults | None = None  # until the first results
        self.answers: list[Any] = [None] * count  # the last one of each worker
        # workers ignore SIGTERM, by which multiprocessing ends the processes that are left at the exit
        util.Finalize(self, _kill, (self.processes,), exitpriority=0)
        main_thread = threading.current_thread() is threading.main_thread()
        factory = require_gymnasium().vector.utils.CloudpickleWrapper(factory)
        try:
            for rows in self.rows:
                pipe, worker_pipe = context.Pipe()
                self.pipes.append(pipe)
                arguments = (factory, rows, limits, shared, worker_pipe, main_thread)
                process = context.Process(target=run_worker, args=arguments, daemon=True)
                process.start()
                self.processes.append(process)
                worker_pipe.close()  # so that the pipe reports the end of the worker
            timeout = limits.timeout and max(limits.timeout, MIN_CONSTRUCTOR_TIMEOUT)
            spaces = self._receive(timeout, range(count))
            for rows, other in zip(self.rows, spaces, strict=True):
                check_spaces(limits.name, rows.start, other, spaces[0])
        except BaseException:
            self.kill()
            raise

    def reset(self, mask: np.ndarray, seeds: np.ndarray) -> dict[str, Any]:
        self.seeds[mask], self.t[mask] = seeds[mask], 0
        workers = [worker for worker, rows in enumerate(self.rows) if mask[rows.start : rows.stop].any()]
        return self._request(workers, "reset", mask, seeds)

    def step(self, actions: Sequence[Any] | np.ndarray) -> dict[str, Any]:
        self.t += 1
        return self._request(range(len(self.rows)), "step", actions)

    def close(self) -> None:
        """Closes the environments and ends the workers; one that takes longer than the timeout is killed."""
        for pipe in self.pipes:
            with suppress(OSError):  # of a worker that has died
                pipe.send(None)
        end = None if self.limits.timeout is None else time.monotonic() + self.limits.timeout + TIMEOUT_GRACE
        for process in self.processes:
            process.join(None if end is None else max(0, end - time.monotonic()))
        self.kill()

    def kill(self) -> None:
        """Kills the workers, as one that hangs or has died cannot close its environments."""
        _kill(self.processes)
        for pipe in self.pipes:
            pipe.close()

    def _request(self, workers: Sequence[int], method: str, *arguments: Sequence[Any] | np.ndarray) -> dict[str, Any]:
        """Calls a method of some workers' `EnvBatch` with their rows of the arguments; others repeat their results."""
        for worker in workers:
            rows = self.rows[worker]
            self._send(worker, (method, [part[rows.start : rows.stop] for part in arguments]))
        for worker, answer in zip(workers, self._receive(self.limits.timeout, workers), strict=True):
            self.answers[worker] = answer
        if self.shared is None:
            self.shared = self._share()
        return self.shared.read(self.answers)

    def _share(self) -> SharedResults:
        """Moves the first results into shared memory, where workers write the next ones, if there is room for them."""
        layout = Layout(self.answers[0], len(self.t))
        file = allocate(layout.size)
        if file is None:
            return SharedResults()
        with file:
            shared = SharedResults(file.fileno(), layout)
            self.answers = [shared.write(*part) for part in zip(self.answers, self.rows, strict=True)]
            for worker, pipe in enumerate(self.pipes):
                self._send(worker, (SHARE, [layout]))
                with suppress(OSError):  # of a worker that has died, as its answer will say
                    send_file(pipe, file)
            self._receive(self.limits.timeout, range(len(self.pipes)))  # all have the file, which may be closed
        return shared

    def _send(self, worker: int, request: Any) -> None:
        try:
            self.pipes[worker].send(request)
        except OSError:
            raise self._death(worker) from None

    def _receive(self, timeout: float | None, workers: Sequence[int]) -> list[Any]:
        """One answer of each of some workers; raises the first error, without waiting for the others."""
        start, limit = time.monotonic(), math.inf if timeout is None else timeout + TIMEOUT_GRACE
        until, pending = start + limit, {self.pipes[worker]: worker for worker in workers}
        answers: dict[int, Any] = {}
        while pending:
            ready: list[Any] = wait(list(pending), None if timeout is None else max(0, until - time.monotonic()))
            for pipe in ready:
                worker = pending.pop(pipe)
                answers[worker] = self._answer(worker)
            if not ready:
                deadlines = {worker: self._last_call(worker, start) + limit for worker in pending.values()}
                overdue = [worker for worker, deadline in deadlines.items() if deadline <= time.monotonic()]
                if overdue:
                    raise self._timeout(overdue, timeout)
                until = min(deadlines.values())
        return [answers[worker] for worker in workers]

    def _last_call(self, worker: int, start: float) -> float:
        """The begin of a worker's current call, or the end of its last one if it is in none."""
        rows = self.rows[worker]
        return max(start, np.abs(self.call_times[rows.start : rows.stop]).max())

    def _timeout(self, workers: list[int], timeout: float | None) -> EnvError:
        return EnvError(
            f"{self.limits.name}, {', '.join(map(self._describe, workers))} did not return within "
            f"{timeout} s, and could not be interrupted",
            **self._place(workers[0]),
        )

    def _answer(self, worker: int) -> Any:
        try:
            answer = self.pipes[worker].recv()
        except (EOFError, OSError):
            raise self._death(worker) from None
        if isinstance(answer, EnvError):
            raise answer
        return answer

    def _death(self, worker: int) -> EnvError:
        process = self.processes[worker]
        process.join(1)  # its pipe is closed a little earlier
        code = process.exitcode
        name = f" ({signal.Signals(-code).name})" if code is not None and code < 0 else ""
        return EnvError(
            f"{self.limits.name}, {self._describe(worker)}: the worker died with exit code {code}{name}; "
            "see its output above",
            **self._place(worker),
        )

    def _place(self, worker: int) -> dict[str, Any]:
        """The attributes of an error: the row in whose call a worker is, with its seed and step."""
        row = row_in_call(self.call_times, self.rows[worker])
        known = {} if row is None else {"row": row, "seed": int(self.seeds[row]), "step": int(self.t[row])}
        return {"env": self.limits.name, **known}

    def _describe(self, worker: int) -> str:
        """The row in whose call a worker is, or all its rows where it is in none."""
        rows = self.rows[worker]
        row = row_in_call(self.call_times, rows)
        if row is None:
            return f"rows {rows.start} to {rows.stop - 1}, between two calls"
        return f"row {row} (seed {self.seeds[row]}, step {self.t[row]})"


def _kill(processes: list[BaseProcess]) -> None:
    for process in processes:
        process.kill()
    for process in processes:
        process.join()  # leaves no zombie
