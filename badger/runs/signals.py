"""Signals that stop a training: it completes its outer step, saves a checkpoint and ends.

A shell, SLURM and systemd read the exit code of the command line: 128 + the number of the signal.

| signal | sent by | exit code |
|---|---|---|
| SIGINT | Ctrl-C | 130 |
| SIGTERM | kill, timeout, systemd, scancel, SLURM at the time limit; also where torchrun itself was killed | 143 |
| SIGHUP | a terminal that is closed, often twice | 129 |
| SIGUSR1, SIGUSR2 | schedulers, some time before the end: `sbatch --signal=USR1@60`, `qsub -notify` | 138, 140 |
| SIGXCPU | the limit of CPU time, once a second | 152 |

A second SIGINT or SIGTERM interrupts at once, without saving; the others only announce the end, and may be repeated. A
signal that is ignored at the start stays ignored: nohup ignores SIGHUP, and a shell SIGINT in its background jobs. A
handler of the caller's own stays, too, except for SIGINT and SIGTERM.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from badger import distributed

REQUESTS = (signal.SIGINT, signal.SIGTERM)
"""Signals of somebody who waits for the end; the second interrupts at once."""

NOTICES = tuple(getattr(signal, name) for name in ("SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU") if hasattr(signal, name))
"""Signals that announce the end, on platforms that have them."""


class Interrupted(KeyboardInterrupt):
    """A training or a study was stopped by a signal.

    Args:
        message: the outer step, and whether it was saved.
        number: the signal.
    """

    def __init__(self, message: str, number: int):
        super().__init__(message)
        self.number = number


class StopRequest:
    """True once the training is to end after its current outer step: after a signal, or where torchrun was killed.

    Args:
        caught: the signals so far; a handler appends to it.
    """

    def __init__(self, caught: list[int]):
        self._caught = caught

    def __bool__(self) -> bool:
        return bool(self._caught) or distributed.launcher_has_ended()

    @property
    def number(self) -> int:
        """The first signal; SIGTERM where another process was signaled, or torchrun was killed."""
        return self._caught[0] if self._caught else signal.SIGTERM


def signal_number(stop: KeyboardInterrupt) -> int:
    """The signal of an exception; SIGINT for those of Python itself.

    Args:
        stop: the exception.
    """
    return stop.number if isinstance(stop, Interrupted) else signal.SIGINT


@contextmanager
def catch_signals() -> Iterator[StopRequest]:
    """Context that collects signals, so that an outer step is completed.

    A second request does not interrupt at once under torchrun, which forwards the signal that the terminal has sent.

    Raises:
        Interrupted: at the second SIGINT or SIGTERM.
    """
    caught: list[int] = []

    def handle(number: int, frame: object) -> None:
        if _is_repeated(number, caught) and distributed.world_size() == 1:
            raise Interrupted("stopped at once, without saving", number)
        caught.append(number)

    with _handled_by(handle):
        yield StopRequest(caught)


@contextmanager
def interrupt_on_signals() -> Iterator[None]:
    """Context in which the first signal, and each repeated SIGINT or SIGTERM, raises.

    Raises:
        Interrupted: on a signal.
    """
    caught: list[int] = []

    def handle(number: int, frame: object) -> None:
        raises = not caught or _is_repeated(number, caught)
        caught.append(number)
        if raises:
            raise Interrupted("stopped", number)

    with _handled_by(handle):
        yield


def _is_repeated(number: int, caught: list[int]) -> bool:
    return number in REQUESTS and any(earlier in REQUESTS for earlier in caught)


@contextmanager
def _handled_by(handler: Callable[[int, object], None]) -> Iterator[None]:
    """Context with one handler for all signals that may be handled; in the main thread only, as Python has it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {number: signal.getsignal(number) for number in (*REQUESTS, *NOTICES)}
    replaced = {number: handled for number, handled in previous.items() if _may_replace(number, handled)}
    try:
        for number in replaced:
            signal.signal(number, handler)
        yield
    finally:
        for number, handled in replaced.items():
            signal.signal(number, handled)


def _may_replace(number: int, handler: object) -> bool:
    if handler is signal.SIG_IGN or handler is None:  # None: set by a library in C, and could not be restored
        return False
    ours = getattr(handler, "__module__", None) == __name__  # of the study in whose worker this training runs
    return number in REQUESTS or handler is signal.SIG_DFL or ours
