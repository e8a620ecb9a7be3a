"""The few ways in which files of a run are written, so that what is interrupted is whole or not there.

All system calls of writing are made here, through `os`: tests replace it, and let each call fail or be the last one.
"""

import contextlib
import os
from pathlib import Path

from badger.errors import RunExists

OWN_FILES = ("unfinished*.tmp", ".lock", ".lock.json", "result.json")
"""Files of this library that a folder may have before its run.json or study.json: a process was killed in between."""


def as_path(path: str | os.PathLike[str]) -> Path:
    """A path from a string, or from any object that is a path.

    Args:
        path: of a file or folder.

    Raises:
        ValueError: it is empty, which would mean the current directory.
        TypeError: it is no path.
    """
    if os.fspath(path) == "":
        raise ValueError('an empty path was given for a folder or file; want a name, or "." for the current directory')
    return Path(path)


def check_new_run_folder(folder: Path) -> None:
    """Refuses a folder for a new run that has a run, or files of others.

    Args:
        folder: it may not exist yet.

    Raises:
        RunExists: the folder has a run, or is not empty.
        NotADirectoryError: it is a file.
    """
    if (folder / "run.json").exists():
        raise RunExists(
            f"{folder} holds a run already; continue it with `badger resume {folder}`, or choose another folder"
        )
    check_new_folder(folder)


def check_new_folder(folder: Path, *own_files: str) -> None:
    """Refuses a folder for new files of a run, study or report that has files of others.

    Args:
        folder: it may not exist yet.
        own_files: names or patterns of files that may be there besides `OWN_FILES`.

    Raises:
        RunExists: the folder is not empty.
        NotADirectoryError: it is a file.
    """
    if not folder.exists():
        return
    others = [file.name for file in folder.iterdir() if not any(map(file.match, (*OWN_FILES, *own_files)))]
    if others:
        raise RunExists(
            f"{folder} is not empty: it has {min(others)!r}"
            + (f" and {len(others) - 1} more" if len(others) > 1 else "")
            + ", and holds no run; choose another folder, or empty this one"
        )


def atomic_write(file: Path, *parts: bytes | memoryview) -> None:
    """Writes a file atomically: to a temporary file, which is flushed to the disk and renamed.

    The temporary file has the number of this process in its name; see `remove_temporary`.

    Args:
        file: the file to write or replace.
        parts: its content, in order.

    Raises:
        OSError: that of the system; the old file is intact.
    """
    temporary = file.with_name(f"unfinished-{os.getpid()}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        try:
            for part in parts:
                write_all(descriptor, part)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, file)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(file)) from error  # that of a write lacks the file name
    finally:
        with contextlib.suppress(OSError):  # the first error is the one to report
            os.unlink(temporary)
    sync_folder(file.parent)


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Writes all bytes, in as many system calls as it takes.

    Args:
        descriptor: of an open file.
        data: the bytes.

    Raises:
        OSError: that of the system; a part of the data may be written.
    """
    left = memoryview(data).cast("B")
    while left:
        left = left[os.write(descriptor, left) :]


def remove_temporary(folder: Path) -> None:
    """Deletes the temporary files that killed processes have left. Only for the one process that may write there.

    Args:
        folder: a folder of `atomic_write`.
    """
    for file in folder.glob("unfinished*.tmp"):
        with contextlib.suppress(OSError):
            os.unlink(file)


def sync_folder(folder: Path) -> None:
    """Flushes the folder itself, so that a rename survives a power failure.

    Args:
        folder: whose entries have changed.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
