"""Runs the jobs of a study by an executor, each in a process of its own, which ends with the one that started it."""

import contextlib
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from pathlib import Path
from typing import Any, NamedTuple

from badger.runs.signals import Interrupted, interrupt_on_signals

STOP_FILE = ".stop"
"""Where a study's folder has this file, its jobs save and end, on every machine that sees the folder."""
POLL = 0.2
"""Seconds between two looks at the file."""


class Failure(NamedTuple):
    """The reason why a job failed.

    Args:
        kind: class name of the exception, or Killed where the process died.
        text: message of the exception, or the exit code.
    """

    kind: str
    text: str


def run_jobs(
    function: Callable[[Any], None],
    jobs: Sequence[Any],
    executor: Executor,
    folder: Path,
    on_finished: Callable[[Any, Failure | None], None],
) -> None:
    """Calls a function with every job, each in a process of its own with one torch thread.

    Args:
        function: called with a job; picklable.
        jobs: arguments, one for each call; picklable.
        executor: starts the processes, in threads of this process or on other machines that see the folder.
        folder: of the study, which this process has locked.
        on_finished: called in this thread with each finished job, and its failure or None.

    Raises:
        Interrupted: a KeyboardInterrupt, on Ctrl-C, SIGTERM or another signal, and where the folder has a file `.stop`,
            after each job in progress has saved its run.
    """
    stop = folder / STOP_FILE
    stop.unlink(missing_ok=True)  # of a study that was killed while it stopped
    running: dict[Future[Failure | None], Any] = {}
    with interrupt_on_signals():
        try:
            for job in jobs:
                running[executor.submit(run_child, pickle.dumps((function, job)), sys.path, str(stop))] = job
            while running:
                ended, _ = wait(running, timeout=POLL, return_when=FIRST_COMPLETED)
                if stop.exists():
                    raise Interrupted(f"{stop} is there", signal.SIGTERM)
                for future in ended:
                    on_finished(running.pop(future), _failure(future))
        except KeyboardInterrupt:
            stop.touch()
            for future in running:
                future.cancel()
            try:
                wait(running)
            except KeyboardInterrupt:  # the second Ctrl-C
                kill_children()
                raise
            raise
        finally:
            stop.unlink(missing_ok=True)


def _failure(future: Future[Failure | None]) -> Failure | None:
    try:
        return future.result()
    except Exception as error:  # of the executor: a machine is lost, or a module is missing there
        return Failure(type(error).__name__, str(error))


_children: set[subprocess.Popen[bytes]] = set()
_lock = threading.Lock()


def run_child(call: bytes, path: Sequence[str], stop_file: str) -> Failure | None:
    """Runs one job in a new process, and waits for its end. Called by the executor.

    The process ends at once where its standard input ends, which it does with this process, however that ends. It is
    in a session of its own: Ctrl-C in a terminal does not reach it.

    Args:
        call: pickled function and job.
        path: directories of modules, from `sys.path`.
        stop_file: see `STOP_FILE`.
    """
    # -c, not -m: before Python 3.11 that would look for modules in the current directory first
    start = f"import sys; sys.path[:] = {list(path)!r}; from badger.study.execution.child import main; main()"
    child = start_child([sys.executable, "-c", start])
    with _lock:
        _children.add(child)
    try:
        assert child.stdin is not None and child.stdout is not None
        header = json.dumps({"bytes": len(call), "stop_file": stop_file}).encode()
        with contextlib.suppress(BrokenPipeError):  # it was killed; says so below
            child.stdin.write(header + b"\n" + call)
            child.stdin.flush()
        answer = child.stdout.read()
        code = child.wait()
        if not answer:
            return Failure("Killed", f"its process ended with exit code {code}")
        failure = json.loads(answer)
        return None if failure is None else Failure(*failure)
    finally:
        with _lock:
            _children.discard(child)
        child.stdin.close()  # type: ignore[union-attr]
        child.stdout.close()  # type: ignore[union-attr]


def start_child(command: Sequence[str]) -> subprocess.Popen[bytes]:
    """Starts the process of a job.

    Args:
        command: its words.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, start_new_session=True
    )


def kill_children() -> None:
    """Kills the processes of jobs that this process has started."""
    with _lock:
        for child in _children:
            child.kill()
