"""Access to HDF5 files: the one place that imports h5py, errors that name the file, and reads into given arrays."""

import importlib
import os
import weakref
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from badger.errors import DamagedFile

Group: TypeAlias = Any
"""A h5py.Group, such as a file; h5py is imported when the first one is opened."""
CHUNK_BYTES = 2**15
"""Bytes of a chunk: so few that a window of 20 steps reads little else, so many that 1,024 steps are few reads."""


def _h5py() -> Any:
    import h5py

    return importlib.import_module(h5py.__name__)


def create_hdf5(path: Path) -> Group:
    """A new HDF5 file, which replaces one of that name.

    Args:
        path: the file.
    """
    return _h5py().File(path, "w")


def open_hdf5(path: Path) -> Group:
    """An HDF5 file, to be read.

    Args:
        path: the file.

    Raises:
        FileNotFoundError: there is none.
        DamagedFile: it is no HDF5 file, or is truncated.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such file")
    h5py = _h5py()
    if path.is_file() and not h5py.is_hdf5(path):
        raise DamagedFile(f"{path} is damaged: it is no HDF5 file, or its beginning is lost", file=path)
    try:
        return h5py.File(path, "r")
    except OSError as error:
        if "truncated" not in str(error):
            raise
        raise DamagedFile(f"{path} is damaged: it is truncated ({error})", file=path) from error


def is_array(value: Any) -> bool:
    """Whether a member of a group is a data set of HDF5, not a group.

    Args:
        value: the member.
    """
    return isinstance(value, _h5py().Dataset)


def create_growing(group: Group, name: str, row: tuple[int, ...], dtype: Any) -> None:
    """An empty data set of HDF5 to which rows are appended, in chunks of rows.

    Args:
        group: it becomes part of this one.
        name: its name there.
        row: the shape of a row.
        dtype: of its numbers.
    """
    size = int(np.prod(row, dtype=np.int64)) * np.dtype(dtype).itemsize
    chunk = max(1, min(4096, CHUNK_BYTES // max(1, size)))
    group.create_dataset(name, (0, *row), dtype, chunks=(chunk, *(max(1, n) for n in row)), maxshape=(None, *row))


def append(array: Any, rows: np.ndarray) -> None:
    """Appends rows to a data set that can grow.

    Args:
        array: from `create_growing`.
        rows: to append.
    """
    stop = len(array)
    array.resize(stop + len(rows), 0)
    array[stop:] = rows


class Reader:
    """Reads ranges of rows of one data set of HDF5 into arrays.

    Chunks that are not compressed are read from the file itself, at the places that HDF5 names: a short range takes a
    seventh of the time, and no memory for a cache of chunks. Others are read by HDF5.

    Args:
        array: of HDF5.
    """

    def __init__(self, array: Any):
        self.dtype, self.row = array.dtype, array.shape[1:]
        self._array, self._places = array, {}  # type: Any, dict[int, int]
        self._row_bytes = self.dtype.itemsize * int(np.prod(self.row, dtype=np.int64))
        settings = array.id.get_create_plist()
        whole_rows = array.chunks is not None and array.chunks[1:] == self.row
        self._is_plain = whole_rows and settings.get_nfilters() == 0 and array.file.userblock_size == 0
        if self._is_plain:
            self._descriptor = os.open(array.file.filename, os.O_RDONLY)
            weakref.finalize(self, os.close, self._descriptor)

    def read(self, start: int, out: np.ndarray) -> None:
        """Fills an array with the rows from `start` on.

        Args:
            start: the first row.
            out: contiguous, with the dtype of the data set.

        Raises:
            OSError: the file cannot be read there.
        """
        if not out.size:
            return
        if not self._is_plain:
            self._array.read_direct(out, np.s_[start : start + len(out)])
            return
        target, done, size = memoryview(out.reshape(-1).view(np.uint8).data), 0, self._array.chunks[0]
        while done < len(out):
            chunk, skipped = divmod(start + done, size)
            count = min(len(out) - done, size - skipped)
            part = target[done * self._row_bytes : (done + count) * self._row_bytes]
            if os.preadv(self._descriptor, [part], self._place(chunk) + skipped * self._row_bytes) < len(part):
                raise OSError(f"the file ends before row {start + done + count}")
            done += count

    def _place(self, chunk: int) -> int:
        """The byte of the file at which a chunk begins."""
        if chunk not in self._places:
            corner = (chunk * self._array.chunks[0], *(0 for _ in self.row))
            place = self._array.id.get_chunk_info_by_coord(corner).byte_offset
            if place is None:
                raise OSError(f"rows from {corner[0]} on were never written")
            self._places[chunk] = place
        return self._places[chunk]
