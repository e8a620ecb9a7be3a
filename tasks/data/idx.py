"""Reader of the idx format of MNIST: an array of bytes after a header (LeCun et al., yann.lecun.com/exdb/mnist)."""

import gzip
import zlib
from pathlib import Path

import numpy as np

BYTES = 0x08  # the code of unsigned bytes, the only supported type


def read(path: Path) -> np.ndarray:
    """Reads the array of an idx file, with gzip compression if its name ends with .gz.

    The header is two zero bytes, the code of the type, the number of dimensions, and each size as a big-endian
    32-bit integer.

    Args:
        path: the file.

    Raises:
        ValueError: the file is not exactly one complete array of unsigned bytes.
    """
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path} is not a complete gzip file ({error}); download or compress it again") from error
    if len(data) < 4 or data[:2] != b"\0\0":
        raise ValueError(f"{path} starts with {data[:4]!r}, want an idx file: two zero bytes, type, dimensions")
    code, dims = data[2], data[3]
    if code != BYTES:
        raise ValueError(f"{path} has idx type {code:#04x}, want unsigned bytes, {BYTES:#04x}")
    header = 4 + 4 * dims
    shape = tuple(int(size) for size in np.frombuffer(data[4:header][: (len(data) - 4) // 4 * 4], ">u4"))
    expected = header + int(np.prod(shape, dtype=object))
    if len(shape) < dims or len(data) != expected:
        want = f"want {expected} for the shape {shape} of its header" if len(shape) == dims else "less than its header"
        raise ValueError(f"{path} has {len(data)} bytes unpacked, {want}; it is truncated or not an idx file")
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)
