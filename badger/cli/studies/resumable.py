"""Says how a study that was stopped is resumed."""

from collections.abc import Iterator
from contextlib import contextmanager

from badger.runs.signals import Interrupted, signal_number


@contextmanager
def resumed_by(command: str) -> Iterator[None]:
    """Context in which an interruption names the command that resumes.

    Args:
        command: as it was typed.

    Raises:
        Interrupted: a KeyboardInterrupt, on Ctrl-C, SIGTERM or another signal.
    """
    try:
        yield
    except KeyboardInterrupt as stop:
        raise Interrupted(f"{stop}. Resume with: {command}", signal_number(stop)) from stop
