"""Files in the format of MNIST with a few images of noise, and a plain reader."""

import gzip
import struct
from pathlib import Path

import numpy as np

TRAIN, TEST = 26, 9  # images: the last sixth of 26 are 4
NAMES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


def packed(array: np.ndarray) -> bytes:
    """An array of bytes as an idx file, not yet zipped."""
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def images(part: str, n: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(len(part))
    return draw.integers(256, size=(n, 28, 28), dtype=np.uint8), draw.integers(10, size=n, dtype=np.uint8)


def write(folder: Path, *, zipped: bool = True, train: int = TRAIN, test: int = TEST) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for part, n in (("train", train), ("test", test)):
        for name, array in zip(NAMES[part], images(part, n), strict=True):
            if zipped:
                (folder / f"{name}.gz").write_bytes(gzip.compress(packed(array)))
            else:
                (folder / name).write_bytes(packed(array))
    return folder


def by_hand(folder: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Grey values (N, 784) from 0 to 1 and labels (N,), from the bytes behind headers of 16 and 8."""
    pixels, labels = (gzip.decompress((folder / f"{name}.gz").read_bytes()) for name in NAMES[part])
    grey = np.array(list(pixels[16:]), dtype=np.float64).reshape(-1, 784) / 255
    return grey, np.array(list(labels[8:]))
