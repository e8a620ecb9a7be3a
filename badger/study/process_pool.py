"""Jobs in processes of their own: one that fails, or dies, stops no other, and none outlives who started it."""

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


class Failure(NamedTuple):
    """Why a job was not done: the error's class, or Killed; and what it said."""

    kind: str
    text: str


class _Worker(NamedTuple):
    process: BaseProcess
    pipe: Connection


def run_in_processes(
    function: Callable[[Any], None],
    jobs: Sequence[Any],
    workers: int,
    on_finished: Callable[[Any, Failure | None], None],
) -> None:
    """function(job) for every job, by so many workers at a time, each a fresh process with one torch thread.

    Args:
        function, jobs: what pickle knows. on_finished: is told of each job that has ended, and how it failed, if it did.

    Raises:
        KeyboardInterrupt: on Ctrl-C or SIGTERM, after each worker has saved what it was at.
    """
    if workers < 1:
        raise ValueError(f"jobs={workers}, want at least 1 process")
    left = list(reversed(jobs))
    free: list[_Worker] = []
    busy: dict[Any, tuple[_Worker, Any]] = {}  # by pipe
    try:
        with _sigterm_as_interrupt():
            while left or busy:
                while left and len(busy) < workers:
                    worker = free.pop() if free else _started(function)
                    worker.pipe.send(left[-1])
                    busy[worker.pipe] = (worker, left.pop())
                for pipe in wait(list(busy)):
                    worker, job = busy.pop(pipe)
                    failure, alive = _receive(worker)
                    free += [worker] if alive else []
                    on_finished(job, failure)
    finally:
        for worker in free:
            worker.pipe.close()  # and it comes to its end
        for worker, _ in busy.values():
            worker.process.terminate()  # and it saves
        for worker in [*free, *(worker for worker, _ in busy.values())]:
            worker.process.join()


def _receive(worker: _Worker) -> tuple[Failure | None, bool]:
    """How a job ended, and whether its worker lives to take another."""
    try:
        return worker.pipe.recv(), True
    except (EOFError, OSError):
        worker.process.join()
        return Failure("Killed", f"its process ended with exit code {worker.process.exitcode}"), False


def _started(function: Callable[[Any], None]) -> _Worker:
    # spawned: a fork would inherit threads and a GPU's context in the middle of whatever they do
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(function, theirs), daemon=True)
    with _ignore_sigint():
        process.start()
    theirs.close()  # so that its end is heard
    return _Worker(process, ours)


def _work(function: Callable[[Any], None], pipe: Connection) -> None:
    """What a worker does: a job after the other, until there is none."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # `train` saves first
    os.setpgrp()  # Ctrl-C is heard by all of a terminal's group: workers wait for the one signal of their parent
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    with contextlib.suppress(EOFError, KeyboardInterrupt):
        while True:
            job = pipe.recv()
            pipe.send(_failure(function, job))


def _failure(function: Callable[[Any], None], job: Any) -> Failure | None:
    try:
        function(job)
    except Exception as error:
        return Failure(type(error).__name__, str(error))
    return None


def _end_with_parent() -> None:
    """At once: a parent that was killed leaves nobody behind who writes where its successor does."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


@contextmanager
def _ignore_sigint() -> Iterator[None]:
    """A process that is started now ignores Ctrl-C from its first moment."""
    if threading.current_thread() is not threading.main_thread():  # only there may handlers be set
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _sigterm_as_interrupt() -> Iterator[None]:
    """SIGTERM acts as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
