"""One writer for each folder: a lock of the operating system, which ends with its process, however that ends."""

import json
import os
import socket
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from badger.errors import RunLocked
from badger.runs.files import atomic_write

LOCK, HOLDER = ".lock", ".lock.json"  # files in the folder
ORPHANS_TIMEOUT = 10.0
"""Seconds to wait for a lock whose holder is dead: worker processes of its own hold it until they end, too."""


@contextmanager
def write_lock(folder: Path) -> Iterator[None]:
    """Context in which no other process, nor this one again, writes to a folder. Readers need no lock.

    Where the file system has no locks, a warning says so, and nothing is locked.

    Args:
        folder: an existing folder of a run or study.

    Raises:
        RunLocked: another process writes there; says which.
    """
    lock = filelock.FileLock(folder / LOCK, is_singleton=False)
    try:
        _acquire(lock, folder)
    except NotImplementedError:
        warnings.warn(
            f"the file system of {folder} has no locks: start no second process that writes there", stacklevel=4
        )
        yield
        return
    try:
        about = {"host": socket.gethostname(), "pid": os.getpid(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
        atomic_write(folder / HOLDER, json.dumps(about).encode())
        yield
    finally:
        lock.release()


def _acquire(lock: filelock.BaseFileLock, folder: Path) -> None:
    try:
        lock.acquire(timeout=0)
        return
    except filelock.Timeout:
        holder = _read_holder(folder)
    if holder.get("host") == socket.gethostname() and not _is_running(holder["pid"]):
        try:
            lock.acquire(timeout=ORPHANS_TIMEOUT)
            return
        except filelock.Timeout:
            holder = _read_holder(folder)
    described = (
        f"process {holder['pid']} on {holder['host']}, since {holder['since']}"
        if holder
        else "another process writes there"
    )
    raise RunLocked(
        f"{folder} is in use: {described}. Wait for it or stop it; badger evaluate, inspect and compare "
        "work in the meantime",
        folder=folder,
        holder=holder,
    )


def _read_holder(folder: Path) -> dict[str, str]:
    """Host, process and start of the one who locked the folder last; {} where that is not known."""
    try:
        about = json.loads((folder / HOLDER).read_text())
        return {name: str(about[name]) for name in ("host", "pid", "since")}
    except (OSError, ValueError, TypeError, KeyError):  # just being written, or damaged: only the message lacks it
        return {}


def _is_running(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except (PermissionError, ValueError):  # of another user
        return True
    return True
