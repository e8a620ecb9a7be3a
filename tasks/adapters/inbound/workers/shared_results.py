"""Results of the rows of all workers in memory that their processes share.

The arrays of the first results, which all workers send, have the shapes of all later ones: `Layout` places them in one
block of shared memory. From then on a worker writes its rows there and sends only what is no array, such as texts.

The memory is that of `tasks.adapters.inbound.workers.memory_file`, which ends with the processes.

This module also runs in worker processes; it does not import torch.

Shapes: B rows of all workers, n rows of one.
"""

import mmap
from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np

ALIGNMENT = 64  # bytes of a cache line


class _Place(NamedTuple):
    """Where an array (B, ...) is in the shared memory."""

    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def end(self) -> int:
        return self.offset + prod(self.shape) * self.dtype.itemsize


class Layout:
    """The places of all arrays of results in one block of memory.

    Args:
        results: of n rows: arrays with a leading axis in nested dicts and tuples, and other values.
        batch: B.
    """

    def __init__(self, results: Any, batch: int):
        self.size = 0
        self.places = self._place(results, batch)

    def _place(self, value: Any, batch: int) -> Any:
        """A `_Place` for each array, None for other values, in the structure of the results."""
        if isinstance(value, dict):
            return {key: self._place(part, batch) for key, part in value.items()}
        if isinstance(value, tuple):
            return tuple(self._place(part, batch) for part in value)
        if not isinstance(value, np.ndarray) or value.dtype.hasobject:
            return None
        place = _Place(-(-self.size // ALIGNMENT) * ALIGNMENT, (batch, *value.shape[1:]), value.dtype)
        self.size = place.end
        return place


class SharedResults:
    """Arrays of the results of all rows in shared memory, of which each worker writes its own rows.

    Args:
        memory: the file; None: nothing is shared, and workers send all of their results.
        layout: of the arrays in it.
    """

    def __init__(self, memory: int | None = None, layout: Layout | None = None):
        self.arrays = None
        if memory is not None and layout is not None:
            self.arrays = _arrays(layout.places, mmap.mmap(memory, layout.size))

    def write(self, results: Any, rows: range) -> Any:
        """Writes the arrays of a worker into the memory, and returns its results with None in their place.

        Args:
            results: of n rows.
            rows: their numbers.
        """
        return _write(self.arrays, results, rows)

    def read(self, answers: Sequence[Any]) -> Any:
        """The results of all rows; arrays are copied.

        Args:
            answers: what `write` returned, of each worker.
        """
        return _read(self.arrays, list(answers))


def _arrays(place: Any, memory: mmap.mmap) -> Any:
    """The arrays in the memory, which live as long as one of them."""
    if isinstance(place, _Place):
        count = prod(place.shape)
        return np.frombuffer(memory, place.dtype, count, place.offset).reshape(place.shape) if count else None
    if isinstance(place, dict):
        return {key: _arrays(part, memory) for key, part in place.items()}
    if isinstance(place, tuple):
        return tuple(_arrays(part, memory) for part in place)
    return None


def _write(array: Any, value: Any, rows: range) -> Any:
    if isinstance(array, dict):
        return {key: _write(part, value[key], rows) for key, part in array.items()}
    if isinstance(array, tuple):
        return tuple(_write(part, other, rows) for part, other in zip(array, value, strict=True))
    if array is None:
        return value
    array[rows.start : rows.stop] = value
    return None


def _read(array: Any, values: list[Any]) -> Any:
    """The copy of a shared array, or the values of all workers as one."""
    if isinstance(array, np.ndarray):
        return array.copy()
    first = values[0]
    if isinstance(first, dict):
        return {key: _read(array and array[key], [value[key] for value in values]) for key in first}
    if isinstance(first, tuple):
        return tuple(_read(array and array[i], [value[i] for value in values]) for i in range(len(first)))
    if isinstance(first, list):
        return [row for value in values for row in value]
    return None if first is None else np.concatenate(values)
