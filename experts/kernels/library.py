"""Loads the shared library of the kernels, if there is one.

```python
from experts.kernels.library import description, library

if library() is None:
    print(description())  # none, with the reason and how to get them
```
"""

import ctypes
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from experts.kernels import build
from experts.torch_internals import functions_are_changed, host_readable, is_batched

HINT = "with a C compiler (gcc or clang), `pip install .` or `python -m experts.kernels` builds them"
SUFFIXES = {torch.float32: "float", torch.float64: "double"}

_switched_off: ContextVar[bool] = ContextVar("kernels_switched_off", default=False)


class Loaded(NamedTuple):
    """The result of loading.

    Args:
        handle: the library, or None.
        description: "built with ...", or "none: ..." with the reason.
    """

    handle: ctypes.CDLL | None
    description: str


def load(file: Path, checksum: int) -> Loaded:
    """Loads a library, and checks that it was built from the sources beside it.

    Args:
        file: the shared library.
        checksum: of the sources.

    Warns:
        RuntimeWarning: there is a library, but it cannot be used.
    """
    if not file.exists():
        return Loaded(None, f"none: they were not built; {HINT}")
    try:
        handle = ctypes.CDLL(str(file))
        handle.badger_kernels_sources.restype = ctypes.c_uint32
        handle.badger_kernels_compiler.restype = ctypes.c_char_p
        built_from = handle.badger_kernels_sources()
    except (OSError, AttributeError) as error:
        return _refused(f"{file} cannot be loaded ({error}); {HINT}")
    if built_from != checksum:
        return _refused(f"{file} was built from other sources than those beside it; {HINT}")
    return Loaded(handle, f"built with {handle.badger_kernels_compiler().decode().strip()}")


def _refused(reason: str) -> Loaded:
    warnings.warn(f"kernels are not used: {reason}", RuntimeWarning, stacklevel=2)
    return Loaded(None, f"none: {reason}")


@cache
def _loaded() -> Loaded:
    return load(build.FOLDER / build.FILE, build.checksum())


def library() -> ctypes.CDLL | None:
    """The kernels, loaded at the first call; None if there are none, inside of `without_kernels`, or inside of a
    `TorchFunctionMode`, which computes matrix products in its own way."""
    return None if _switched_off.get() or functions_are_changed() else _loaded().handle


def usable(like: Tensor, *others: Tensor) -> bool:
    """Whether kernels may compute with these tensors: float32 or float64 on the CPU, outside of `torch.func`.

    Args:
        like: an argument of a kernel.
        others: arguments of another origin, which must have the same dtype and device.
    """
    return (
        not torch.compiler.is_compiling()  # first, so that the compiler traces nothing of what follows
        and library() is not None
        and like.dtype in SUFFIXES
        and all(other.dtype == like.dtype and other.device == like.device for other in others)
        and host_readable(like)
        and not is_batched(like)
    )


def description() -> str:
    """Which compiler built the kernels; or "none", the reason, and how to get them."""
    return "none: switched off by without_kernels" if _switched_off.get() else _loaded().description


@cache
def _function(name: str, dtype: torch.dtype, argtypes: tuple[Any, ...]) -> Any:
    function = getattr(_loaded().handle, f"{name}_{SUFFIXES[dtype]}")
    function.argtypes, function.restype = list(argtypes), None
    return function


def kernel(name: str, dtype: torch.dtype, *argtypes: Any) -> Any:
    """A function of the library, for one dtype. It returns nothing, and releases the interpreter's lock.

    Args:
        name: without the suffix for the dtype.
        dtype: torch.float32 or torch.float64.
        argtypes: ctypes of its arguments.

    Raises:
        AttributeError: the library has no such function, or there is no library: ask `library` first.
    """
    return _function(name, dtype, argtypes)


def addresses(tensors: Iterable[Tensor | None]) -> list[int | None]:
    """The addresses of tensors for a kernel; None stays None.

    Args:
        tensors: contiguous; they must live as long as the addresses are used.

    Raises:
        ValueError: a tensor with gaps, of which a kernel would read other numbers.
    """
    found: list[int | None] = []
    for tensor in tensors:
        if tensor is not None and not tensor.is_contiguous():
            raise ValueError(f"a tensor of shape {tuple(tensor.shape)} has strides {tensor.stride()}, want none")
        found.append(None if tensor is None else tensor.data_ptr())
    return found


@contextmanager
def without_kernels() -> Iterator[None]:
    """Kernels are not used inside of the `with` block: to compare them with tensor operations."""
    token = _switched_off.set(True)
    try:
        yield
    finally:
        _switched_off.reset(token)
