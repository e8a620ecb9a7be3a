"""The idx format of MNIST: a plain array of bytes behind a header (LeCun et al., yann.lecun.com/exdb/mnist)."""

import gzip
import zlib
from pathlib import Path

import numpy as np

BYTES = 0x08  # the code of unsigned bytes, the one type that is read


def read(path: Path) -> np.ndarray:
    """The array in the file, packed by gzip if its name ends so.

    The header is two zero bytes, the code of the type, the number of dimensions, and each size as a big-endian
    32-bit integer.

    Raises:
        ValueError: anything but exactly one whole array of unsigned bytes; says what the file holds.
    """
    try:
        held = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path} is no whole gzip file ({error}); fetch or pack it anew") from error
    if len(held) < 4 or held[:2] != b"\0\0":
        raise ValueError(f"{path} begins with {held[:4]!r}, want an idx file: two zero bytes, type, dimensions")
    code, dims = held[2], held[3]
    if code != BYTES:
        raise ValueError(f"{path} holds idx type {code:#04x}, want unsigned bytes, {BYTES:#04x}")
    header = 4 + 4 * dims
    shape = tuple(int(size) for size in np.frombuffer(held[4:header][: (len(held) - 4) // 4 * 4], ">u4"))
    wanted = header + int(np.prod(shape, dtype=object))
    if len(shape) < dims or len(held) != wanted:
        told = f"want {wanted} for the shape {shape} of its header" if len(shape) == dims else "less than its header"
        raise ValueError(f"{path} has {len(held)} bytes unpacked, {told}; it is cut off or no idx file, fetch it anew")
    return np.frombuffer(held, np.uint8, offset=header).reshape(shape)
