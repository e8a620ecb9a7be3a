"""Derived random streams: a generator is a function of (seed, stream, rank, step), and is never stored.

A resumed run needs no saved generator, evaluation episodes differ from those of training, and every process of a run
has its own random numbers.
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
    """A new random generator, derived from a seed and the name of its use.

    Args:
        seed: of the run.
        stream: the use: "train", "evaluate", "init", ...
        step: the outer step.
        rank: of the process.
        device: of the generator.

    Raises:
        ValueError: a negative seed.
    """
    if seed < 0:
        raise ValueError(f"seed={seed}, want at least 0")
    entropy = np.random.SeedSequence([seed, zlib.crc32(stream.encode()), rank, step])
    return seeded_generator(int(entropy.generate_state(1, np.uint64)[0]), device)


@contextmanager
def drawing_from(rng: torch.Generator) -> Iterator[None]:
    """Context in which torch's default CPU generator starts from the state of `rng`; restored on exit.

    For code that takes no generator, such as the initialization of nn.Linear.

    Args:
        rng: a generator on the CPU.
    """
    with torch.random.fork_rng(devices=[]):
        torch.set_rng_state(rng.get_state())
        yield
