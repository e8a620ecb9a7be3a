"""Sequences that one expert reads, to say something of them at the end or in between."""

from functools import partial

from badger.memories import Memories
from badger.run import Run
from badger.setup import Setup, recipe
from experts import LSTM
from tasks import SequentialMNIST


@recipe(
    experts=1, topology="none", bus="silent", act="mean", identity_size=0, batch=128, lr=1e-3, schedule="constant",
    outer_steps=7820, slots=112, key_size=32,
)  # fmt: skip
def sequential_mnist(
    setup: Setup,
    memories: Memories,
    *,
    pixels: int = 7,
    permuted: bool = False,
    split: str = "train",
    data_dir: str | None = None,
    hidden_size: int = 128,
) -> Run:
    """One expert reads an image a few pixels a step and names the digit at the end (Andersson 2020; Le et al. 2015).

    An epoch of the 50,000 images is 391 outer steps of 128, and 7,820 of them are 20 epochs.

    Args:
        pixels: read in a step; 1 for pixel by pixel.
        permuted: pixels come in one random order.
        split: images to train on: train (50,000), or train+validation (60,000).
        data_dir: folder with the four idx files; $BADGER_DATA, or a download, if not given.
        hidden_size: of the LSTM.
    """
    core = memories.core(partial(LSTM, hidden_size=hidden_size), setup.experts)
    if pixels < 1 or 784 % pixels:
        raise ValueError(f"pixels={pixels}, want a divisor of 784, such as 7")
    task = SequentialMNIST(784 // pixels, data_dir=data_dir, split=split, permuted=permuted)
    return setup.run(task, core, betas=(0.9, 0.999))
