"""A pool of worker processes: a job that fails or dies stops no other, and workers exit with their parent."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple

import torch

from badger.runs.signals import interrupt_on_signals


class Failure(NamedTuple):
    """The reason why a job failed.

    Args:
        kind: class name of the exception, or Killed where the process died.
        text: message of the exception, or the exit code.
    """

    kind: str
    text: str


class _Worker(NamedTuple):
    process: BaseProcess
    pipe: Connection


def check_num_processes(workers: int) -> None:
    """Checks a number of processes.

    Args:
        workers: the number.

    Raises:
        ValueError: workers < 1.
    """
    if workers < 1:
        raise ValueError(f"jobs={workers}, want at least 1 process")


def run_in_processes(
    function: Callable[[Any], None],
    jobs: Sequence[Any],
    workers: int,
    on_finished: Callable[[Any, Failure | None], None],
) -> None:
    """Calls a function with every job, in worker processes with one torch thread each.

    Args:
        function: called with a job; picklable.
        jobs: arguments, one for each call; picklable.
        workers: number of processes.
        on_finished: called in this process with each finished job, and its failure or None.

    Raises:
        ValueError: workers < 1.
        Interrupted: a KeyboardInterrupt, on Ctrl-C, SIGTERM or another signal, after each worker has saved its run.
    """
    check_num_processes(workers)
    remaining = list(reversed(jobs))
    free: list[_Worker] = []
    busy: dict[Any, tuple[_Worker, Any]] = {}  # by pipe
    with interrupt_on_signals():
        try:
            while remaining or busy:
                while remaining and len(busy) < workers:
                    worker = free.pop() if free else _start_worker(function)
                    worker.pipe.send(remaining[-1])
                    busy[worker.pipe] = (worker, remaining.pop())
                for pipe in wait(list(busy)):
                    worker, job = busy.pop(pipe)
                    failure, alive = _receive(worker)
                    free += [worker] if alive else []
                    on_finished(job, failure)
        finally:
            for worker in free:
                worker.pipe.close()  # the worker exits
            for worker, _ in busy.values():
                _stop(worker.process)
            for worker in [*free, *(worker for worker, _ in busy.values())]:
                worker.process.join()


def _stop(process: BaseProcess) -> None:
    """Lets a worker save its run and exit."""
    if process.is_alive():
        assert process.pid is not None
        # not SIGTERM: the second one would interrupt at once, where a scheduler has sent the first to all processes
        os.kill(process.pid, signal.SIGUSR1)


def _receive(worker: _Worker) -> tuple[Failure | None, bool]:
    """The failure of a finished job, or None; and whether its worker can run another job."""
    try:
        return worker.pipe.recv(), True
    except (EOFError, OSError):
        worker.process.join()
        return Failure("Killed", f"its process ended with exit code {worker.process.exitcode}"), False


def _start_worker(function: Callable[[Any], None]) -> _Worker:
    # spawned: a fork would inherit running threads and the GPU's context
    context = multiprocessing.get_context("spawn")
    pipe, child_pipe = context.Pipe()
    process = context.Process(target=_work, args=(function, child_pipe), daemon=True)
    with _ignore_sigint():
        process.start()
    child_pipe.close()  # so that the pipe reports the end of the process
    return _Worker(process, pipe)


def _work(function: Callable[[Any], None], pipe: Connection) -> None:
    """Main function of a worker: runs jobs until the pipe is closed."""
    os.setpgrp()  # Ctrl-C goes to a terminal's whole process group: workers receive SIGUSR1 from their parent
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)  # not ignored, even if the parent ignores it
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    with contextlib.suppress(EOFError, KeyboardInterrupt), interrupt_on_signals():  # `train` saves a checkpoint first
        while True:
            job = pipe.recv()
            pipe.send(_run_job(function, job))


def _run_job(function: Callable[[Any], None], job: Any) -> Failure | None:
    try:
        function(job)
    except Exception as error:
        return Failure(type(error).__name__, str(error))
    return None


def _exit_with_parent() -> None:
    """Exits as soon as the parent has ended, so that no orphan writes to the files of a restarted study."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


@contextmanager
def _ignore_sigint() -> Iterator[None]:
    """Processes started within this context ignore Ctrl-C from the start."""
    if threading.current_thread() is not threading.main_thread():  # signal handlers can be set there only
        yield
        return
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
