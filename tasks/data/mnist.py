"""The images of MNIST, or others in the same form, and how they are split (LeCun et al. 1998)."""

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
PAIRS = {  # images, labels
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
    pixels: UInt8[Tensor, "N P"]  # row by row
    labels: Int[Tensor, " N"]


def load_split(data_dir: str | Path | None, split: str, device: torch.device) -> Split:
    """A split of the files in `data_dir`, or where `tasks.data.download` finds them; read once in a process, and held
    on each device that asks.

    Raises:
        FileNotFoundError: there are none. ValueError: they are cut off, no images, or do not belong together.
    """
    return _load_cached(data_dir, os.environ.get(files.DATA_ENV_VAR), split, device)


@lru_cache(maxsize=8)
def _load_cached(data_dir: str | Path | None, environment: str | None, split: str, device: torch.device) -> Split:
    """environment: stands in the key, for it moves the files."""
    if device.type != "cpu":
        pixels, labels = _load_cached(data_dir, environment, split, torch.device("cpu"))
        return Split(pixels.to(device), labels.to(device))
    pair = PAIRS["test" if split == "test" else "train"]
    images, digits = _read(*files.find_or_download(MNIST, pair, data_dir))
    rest = len(images) - len(images) // 6
    part = {"train": slice(rest), "validation": slice(rest, None)}.get(split, slice(None))
    if not len(images[part]):
        raise ValueError(f"split={split!r} is empty: there are {len(images)} images, want at least 6 to take a sixth")
    return Split(torch.tensor(images[part]), torch.tensor(digits[part], dtype=torch.long))


def _read(images: Path, labels: Path) -> tuple[np.ndarray, np.ndarray]:
    """Both arrays, (N, 784) and (N,), once they are known to belong together."""
    pixels, digits = idx.read(images), idx.read(labels)
    if pixels.ndim != 3 or pixels.shape[1:] != (SIDE, SIDE):
        raise ValueError(f"{images} holds an array {pixels.shape}, want images (N, {SIDE}, {SIDE})")
    if digits.shape != (len(pixels),):
        raise ValueError(f"{labels} holds an array {digits.shape}, want the labels ({len(pixels)},) of {images}")
    if (digits >= CLASSES).any():
        raise ValueError(f"{labels} holds the label {digits.max()}, want 0 to {CLASSES - 1}")
    return pixels.reshape(-1, PIXELS), digits
