"""Randomness is derived, not stored: a generator follows from (seed, stream, rank, step).

So a resumed run needs no saved generator, evaluation never meets the episodes of training, and every process of a
run draws its own.
"""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def generator(
    seed: int, stream: str, step: int = 0, *, rank: int = 0, device: torch.device | str = "cpu"
) -> torch.Generator:
    """A fresh generator for one use: `stream` names what it is for ("train", "evaluate", "init", ...)."""
    entropy = np.random.SeedSequence([seed, zlib.crc32(stream.encode()), rank, step])
    return torch.Generator(device).manual_seed(int(entropy.generate_state(1, np.uint64)[0]))


@contextmanager
def drawing_from(rng: torch.Generator) -> Iterator[None]:
    """Lets code that knows only torch's default CPU generator (the initialisation of nn.Linear) draw from rng.

    The default generator is put back as it was found.
    """
    with torch.random.fork_rng(devices=[]):
        torch.set_rng_state(rng.get_state())
        yield
