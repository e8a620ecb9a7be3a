"""Randomness is derived, not stored: a generator follows from (seed, stream, rank, step).

So a resumed run needs no saved generator, evaluation never meets the episodes of training, and every process of a
run draws its own.
"""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


class MetaGenerator(torch.Generator):
    """A generator that names the meta device as its own, for which torch has none.

    Operations on meta tensors draw nothing; most of them accept a generator, and `badger.testing.devices` drops it in
    the others.
    """

    device = torch.device("meta")

    def clone_state(self) -> "MetaGenerator":
        """Another one."""
        return MetaGenerator()


def seeded_generator(seed: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator on a device, the meta device included, seeded with one number."""
    made = MetaGenerator() if torch.device(device).type == "meta" else torch.Generator(device)
    return made.manual_seed(seed)


def generator(
    seed: int, stream: str, step: int = 0, *, rank: int = 0, device: torch.device | str = "cpu"
) -> torch.Generator:
    """A fresh generator for one use: `stream` names what it is for ("train", "evaluate", "init", ...)."""
    entropy = np.random.SeedSequence([seed, zlib.crc32(stream.encode()), rank, step])
    return seeded_generator(int(entropy.generate_state(1, np.uint64)[0]), device)


@contextmanager
def drawing_from(rng: torch.Generator) -> Iterator[None]:
    """Lets code that knows only torch's default CPU generator (the initialisation of nn.Linear) draw from rng.

    The default generator is put back as it was found.
    """
    with torch.random.fork_rng(devices=[]):
        torch.set_rng_state(rng.get_state())
        yield
