"""The few ways in which files of a run are written, so that what is interrupted is whole or not there.

All system calls of writing are made here, through `os`: tests replace it, and let each call fail or be the last one.
"""

import contextlib
import os
from pathlib import Path


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
