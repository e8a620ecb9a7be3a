"""Errors that a script may want to tell apart: all are `BadgerError`, and know what they are about.

A wrong argument is a ValueError, as everywhere in Python; a file that the system cannot write is its OSError.

```python
import badger

try:
    badger.load_run("runs/none")
except badger.BadgerError:
    raise AssertionError("not this one")
except FileNotFoundError as error:
    assert "runs/none" in str(error)
```
"""

from collections.abc import Sequence
from pathlib import Path

from tasks import EnvError


class BadgerError(Exception):
    """Base class of the errors of runs and of training."""


class RunExists(BadgerError, FileExistsError):
    """The folder of a new run has a run, or files of others, already."""


class RunRemoved(BadgerError, FileNotFoundError):
    """The folder of a run was removed or renamed while the run was training."""


class RunLocked(BadgerError, RuntimeError):
    """Another process writes to the run folder.

    Args:
        message: says which.
        folder: the run folder.
        holder: who holds the lock: `host`, `pid` and `since`, as far as known.
    """

    def __init__(self, message: str, *, folder: Path | None = None, holder: dict[str, str] | None = None):
        super().__init__(message)
        self.folder, self.holder = folder, holder or {}


class DamagedFile(BadgerError, ValueError):
    """A file of a run that is truncated or damaged, or does not have the fields or types that it should have.

    Args:
        message: says what is wrong.
        file: the file.
        place: the field or line, where known.
    """

    def __init__(self, message: str, *, file: Path | None = None, place: str | int | None = None):
        super().__init__(message)
        self.file, self.place = file, place


class UntrustedCode(BadgerError, ValueError):
    """A file names code that is not part of this library, and the caller has not said that it is trusted.

    Args:
        message: says how to allow it.
        names: what the file names, such as "my_module:MyCore".
    """

    def __init__(self, message: str, *, names: Sequence[str] = ()):
        super().__init__(message)
        self.names = tuple(names)


class Diverged(BadgerError, RuntimeError):
    """A loss or gradient was not finite. The optimizer has skipped that update.

    Args:
        message: norms, and a diagnosis of the memory.
        step: the outer step.
    """

    def __init__(self, message: str, *, step: int | None = None):
        super().__init__(message)
        self.step = step


class EnvFailed(BadgerError, EnvError):
    """A training was stopped by an error of an external environment, its cause."""


class ProcessLost(BadgerError, RuntimeError):
    """Another process of a distributed run has ended, or cannot be reached."""
