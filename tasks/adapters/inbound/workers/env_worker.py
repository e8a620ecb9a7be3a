"""The worker process of a pool of environments: it calls its rows in turn, and ends with the process that started it.

This module also runs in worker processes; it does not import torch.
"""

import ctypes
import faulthandler
import io
import multiprocessing
import os
import random
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Any

import numpy as np

from tasks.adapters.inbound.checked_env import CallTimes, EnvError, EnvFactory, EnvLimits, init_call_timer
from tasks.adapters.inbound.env_batch import EnvBatch
from tasks.adapters.inbound.workers.memory_file import receive_file
from tasks.adapters.inbound.workers.shared_results import SharedResults

SHARE = "share"  # a request with a `Layout`, after which a file follows; the answer is None
PR_SET_PDEATHSIG = 1  # of Linux's prctl
POLL_SECONDS = 0.5  # between two looks at the parent


def run_worker(
    factory: EnvFactory,
    rows: range,
    limits: EnvLimits,
    call_times: CallTimes,
    pipe: Connection,
    kernel_kills: bool,
) -> None:
    """Constructs the rows, sends their spaces, then answers requests: a method of `EnvBatch` and its arguments.

    An answer is the result, without arrays that are in shared memory, or the EnvError that ends this worker.
    `kernel_kills`: this process was started by a main thread; see `_end_with_parent`.
    """
    _end_with_parent(kernel_kills)
    _use_one_thread()
    _init_output()
    _init_signals()
    init_call_timer()
    batch, shared = None, SharedResults()
    try:
        batch = EnvBatch(factory, rows, limits, call_times, seed_process=seed_process)
        pipe.send(batch.spaces)
        for method, arguments in _requests(pipe):
            if method == SHARE:
                memory = receive_file(pipe)
                shared = SharedResults(memory, *arguments)
                os.close(memory)  # it stays mapped
                pipe.send(None)
            else:
                pipe.send(shared.write(getattr(batch, method)(*arguments), rows))
    except EnvError as error:
        pipe.send(error)
    except Exception as error:
        pipe.send(_as_env_error(error, rows, limits, call_times))
    finally:
        if batch is not None:
            batch.close()


def _requests(pipe: Connection) -> Iterator[Any]:
    """Requests until one is None, or the trainer has ended."""
    with suppress(EOFError):
        while (request := pipe.recv()) is not None:
            yield request


def seed_process(seed: int) -> None:
    """Seeds the global generators of this process, from which some environments draw; otherwise all workers, which
    start with equal generators, would have equal episodes.

    Args:
        seed: of the episode that begins.
    """
    random.seed(seed)
    np.random.seed(seed)


def row_in_call(call_times: CallTimes, rows: range) -> int | None:
    """The row whose call has begun and not returned."""
    return next((row for row in rows if call_times[row] > 0), None)


def _as_env_error(error: Exception, rows: range, limits: EnvLimits, call_times: CallTimes) -> EnvError:
    row = row_in_call(call_times, rows)
    where = f"rows {rows.start} to {rows.stop - 1}" if row is None else f"row {row}"
    trace = traceback.format_exc().rstrip()
    return EnvError(
        f"{limits.name}, {where} raised {type(error).__name__}: {error}\n\nTraceback of the worker:\n{trace}",
        env=limits.name,
        row=row,
    )


def _end_with_parent(kernel_kills: bool) -> None:
    """Ends this process within a second after its parent, even if the parent was killed and an environment hangs.

    On Linux the kernel does it (PR_SET_PDEATHSIG): a thread would not run during a call in C that holds the interpreter
    lock. But the kernel acts at the end of the *thread* that started this process, so it is asked only where that is
    the main thread. The thread here serves all other cases.
    """
    if kernel_kills and sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=_exit_after_parent, args=(os.getppid(),), daemon=True).start()


def _exit_after_parent(started_by: int) -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    # the sentinel alone is not enough: workers that were forked later hold its other end; under a fork server, the
    # process id alone is that of the server
    while not wait([parent.sentinel], POLL_SECONDS) and os.getppid() == started_by:
        pass
    os._exit(1)


def _use_one_thread() -> None:
    """Leaves the other cores to other workers. Threads of OpenMP would also wait for ever in a process that was forked
    from one that has used them."""
    os.environ["OMP_NUM_THREADS"] = "1"
    if "torch" in sys.modules:  # of the parent
        sys.modules["torch"].set_num_threads(1)


def _init_output() -> None:
    """Shows each printed line at once, and a traceback of a segmentation fault: a process that dies flushes nothing."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    if not faulthandler.is_enabled():
        faulthandler.enable(2)


def _init_signals() -> None:
    """Leaves signals that go to all processes of a job to the trainer, which completes its step, saves and ends.

    They have an empty handler and are not ignored, as processes that an environment starts would ignore them, too.
    """
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), lambda number, frame: None)
            if hasattr(signal, "siginterrupt"):
                signal.siginterrupt(getattr(signal, name), False)  # calls in C go on, too
