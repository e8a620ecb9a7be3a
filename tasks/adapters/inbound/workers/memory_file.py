"""Shared memory without a name: a temporary file in memory that is handed to other processes through their pipes.

It never has a name (`tempfile.TemporaryFile`), so that nothing is left over: the system frees it with the last process
that maps it, however the processes end.

This module also runs in worker processes; it does not import torch.
"""

import os
import socket
import tempfile
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

MEMORY_FOLDER = "/dev/shm"  # a file system in memory; elsewhere the usual folder for temporary files


def allocate(size: int) -> Any:
    """A file without a name in memory; None where there is no room, or no way to hand it over.

    Args:
        size: in bytes.
    """
    if not hasattr(socket, "send_fds") or not size:
        return None
    folder = MEMORY_FOLDER if os.access(MEMORY_FOLDER, os.W_OK) else None
    with suppress(OSError):
        file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - the caller closes it
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)  # a full file system raises here, not at a write
            else:
                file.truncate(size)
            return file
        except OSError:
            file.close()
    return None


def send_file(pipe: Connection, file: Any) -> None:
    """Hands an open file to the process at the other end of a pipe.

    Args:
        pipe: to it; duplex.
        file: the open file.
    """
    with _socket(pipe) as end:
        socket.send_fds(end, [b"f"], [file.fileno()])


def receive_file(pipe: Connection) -> int:
    """The file descriptor that `send_file` has sent.

    Args:
        pipe: to the sender.

    Raises:
        EOFError: the sender has ended.
    """
    with _socket(pipe) as end:
        _, files, _, _ = socket.recv_fds(end, 1, 1)
    if not files:
        raise EOFError
    return files[0]


def _socket(pipe: Connection) -> socket.socket:
    """The socket of which a duplex pipe is made."""
    end = socket.socket(fileno=os.dup(pipe.fileno()))
    end.setblocking(True)  # a default timeout would make the pipe non-blocking, too
    return end
