"""The process of one job of a study.

It reads the job from standard input, and writes its failure, or null, to standard output. What the job prints goes to
standard error. When standard input ends, so does the process: the one that started it is dead.
"""

import json
import os
import pickle
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any, BinaryIO

import torch

from badger.errors import RunLocked
from badger.runs.signals import interrupt_on_signals
from badger.study.execution.jobs import POLL

LOCK_TIMEOUT = 30.0
"""Seconds to wait for a run that another process writes to: the job may run again while its lost process still ends."""
STOPPED = 75  # exit code of a job that has saved its run, and is to be continued


def main() -> None:
    """Runs the job that standard input has."""
    source, answer = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(source, answer)


def serve(source: BinaryIO, answer: BinaryIO) -> None:
    """Runs a job and writes its failure.

    Args:
        source: a line of JSON with the size of the call and the file that stops it, and the call: function and job.
        answer: where to write.
    """
    header = json.loads(source.readline())
    pickled = source.read(header["bytes"])
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)  # not ignored, even if the parent ignores it
    threading.Thread(target=_exit_with_parent, args=(source,), daemon=True).start()
    torch.set_num_threads(1)
    try:
        with interrupt_on_signals():  # `train` saves a checkpoint first
            threading.Thread(target=_stop_at, args=(Path(header["stop_file"]),), daemon=True).start()
            function, job = pickle.loads(pickled)
            failure = call(function, job)
    except KeyboardInterrupt:
        sys.exit(STOPPED)
    answer.write(json.dumps(failure).encode())
    answer.flush()


def _stop_at(file: Path) -> None:
    """Saves and ends the job as soon as the file exists."""
    while not file.exists():
        time.sleep(POLL)
    # not SIGTERM: the second one would interrupt at once, where a scheduler has sent the first to all processes
    os.kill(os.getpid(), signal.SIGUSR1)


def call(function: Any, job: Any) -> list[str] | None:
    """Calls a function; returns its failure, or None.

    Args:
        function: of a job.
        job: its argument.
    """
    end = time.monotonic() + LOCK_TIMEOUT
    while True:
        try:
            function(job)
            return None
        except RunLocked as locked:
            if time.monotonic() > end:
                return [type(locked).__name__, str(locked)]
            time.sleep(POLL)
        except Exception as error:
            return [type(error).__name__, str(error)]


def _exit_with_parent(source: BinaryIO) -> None:
    """Exits as soon as standard input ends, so that no orphan writes to the files of a restarted study."""
    source.read()
    os._exit(1)
