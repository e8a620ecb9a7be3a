"""Images and labels of MNIST, or of a data set in the same format, by split (LeCun et al. 1998)."""

import os
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from tasks.data import download as files
from tasks.data import idx

SIDE, PIXELS, CLASSES = 28, 784, 10
SPLITS = ("train", "validation", "train+validation", "test")
FILE_NAMES = {  # images, labels
    "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}
MNIST = files.DataSource(
    "mnist",
    {
        "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
        "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
        "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
    },
    (
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
    ),
)


class Split(NamedTuple):
    """Images of a split, N images of P pixels.

    Args:
        pixels: gray values, row by row.
        labels: the digits.
    """

    pixels: UInt8[Tensor, "N P"]
    labels: Int[Tensor, " N"]


def load_split(data_dir: str | Path | None, split: str, device: torch.device) -> Split:
    """A split of MNIST, read once per process and cached per device.

    Args:
        data_dir: the folder of the files; None: see `tasks.data.download`.
        split: "train", "validation", "train+validation" or "test".
        device: the device of the tensors.

    Raises:
        FileNotFoundError: files are missing.
        ValueError: files are truncated, are not images, or do not match.
    """
    return _load_cached(data_dir, os.environ.get(files.DATA_ENV_VAR), split, device)


@lru_cache(maxsize=8)
def _load_cached(data_dir: str | Path | None, environment: str | None, split: str, device: torch.device) -> Split:
    """`environment` is part of the cache key, as it changes the location of the files."""
    if device.type != "cpu":
        pixels, labels = _load_cached(data_dir, environment, split, torch.device("cpu"))
        return Split(pixels.to(device), labels.to(device))
    names = FILE_NAMES["test" if split == "test" else "train"]
    images, digits = _read(*files.find_or_download(MNIST, names, data_dir))
    num_train = len(images) - len(images) // 6
    rows = {"train": slice(num_train), "validation": slice(num_train, None)}.get(split, slice(None))
    if not len(images[rows]):
        raise ValueError(f"split={split!r} is empty: there are {len(images)} images, want at least 6")
    return Split(torch.tensor(images[rows]), torch.tensor(digits[rows], dtype=torch.long))


def _read(images: Path, labels: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 784) and labels (N,), after checking that they match."""
    pixels, digits = idx.read(images), idx.read(labels)
    if pixels.ndim != 3 or pixels.shape[1:] != (SIDE, SIDE):
        raise ValueError(f"{images} has an array {pixels.shape}, want images (N, {SIDE}, {SIDE})")
    if digits.shape != (len(pixels),):
        raise ValueError(f"{labels} has an array {digits.shape}, want the labels ({len(pixels)},) of {images}")
    if (digits >= CLASSES).any():
        raise ValueError(f"{labels} has the label {digits.max()}, want 0 to {CLASSES - 1}")
    return pixels.reshape(-1, PIXELS), digits
