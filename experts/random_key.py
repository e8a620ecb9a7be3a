"""Counter-based random numbers of cores that draw: a seed and a counter in the state, and no generator.

Shapes: B episode, N members.
"""

from collections.abc import Callable, Iterator
from math import prod, sqrt
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from experts.state import State

GAMMA, MIX_1, MIX_2 = (c - 2**64 for c in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))  # as int64
DRAWN_BITS = 23  # (k + 1/2) / 2^23 is exact in float32, and never 0 or 1


class RandomKey(NamedTuple):
    """A seed and the number of steps, from which all random numbers of a step follow.

    A part of a core's state. The numbers of a step are a function of the key alone, so that stepping, unrolling,
    branching, replaying and resuming draw the same ones. `initial_state` has the seed 0, with which all episodes and
    members draw the same numbers; an agent then gives each of them a seed of its own (`seeded`).

    The bits are those of SplitMix64 on every device; uniform numbers are equal, normal ones up to rounding.

    Args:
        seed: of the stream; 0: not seeded yet.
        step: number of steps so far.

    Source: Steele, Lea and Flood 2014 (SplitMix64); Salmon et al. 2011 on counter-based generators.
    """

    seed: Int[Tensor, "*B"]
    step: Int[Tensor, "*B"]

    def uniform(self, like: Tensor, *shape: int, stream: int = 0) -> Float[Tensor, "*shape"]:
        """Uniform numbers of this step, above 0 and below 1, (*B, *shape).

        Args:
            like: gives the dtype.
            shape: of the numbers of one member.
            stream: of several independent ones in a step.
        """
        key = _split_mix(_split_mix(self.seed, self.step), torch.full_like(self.seed, stream)).unsqueeze(-1)
        index = torch.arange(prod(shape), device=key.device)
        k = _shift_right(_split_mix(key, index), 64 - DRAWN_BITS)
        dtype = torch.promote_types(like.dtype, torch.float32)  # half precision has too few bits
        return ((k.to(dtype) + 0.5) * 2.0**-DRAWN_BITS).to(like.dtype).unflatten(-1, shape)

    def normal(self, like: Tensor, *shape: int, stream: int = 0) -> Float[Tensor, "*shape"]:
        """Standard normal numbers of this step, (*B, *shape); the largest are +-5.3.

        Args:
            like: gives the dtype.
            shape: of the numbers of one member.
            stream: of several independent ones in a step.
        """
        dtype = torch.promote_types(like.dtype, torch.float32)
        uniform = self.uniform(like.new_empty(0, dtype=dtype), *shape, stream=stream)
        return (sqrt(2) * torch.erfinv(2 * uniform - 1)).to(like.dtype)

    def next(self) -> "RandomKey":
        """The key of the next step."""
        return self._replace(step=self.step + 1)


def initial_key(x: Float[Tensor, "B N D"]) -> RandomKey:
    """The key of an initial state, which is not seeded.

    Args:
        x: gives batch, members and device.
    """
    return RandomKey(*(x.new_zeros(x.shape[:2], dtype=torch.int64) for _ in range(2)))


def seeded(state: State, rng: torch.Generator, members: tuple[int, Int[Tensor, " N"]] | None = None) -> State:
    """The state with a random seed for each episode and member that has none; a state without keys as it is.

    Args:
        state: of a core; nothing is drawn where it has no `RandomKey`.
        rng: the generator, on the device of the state.
        members: where the state has some of all members: the number of all, and which of them, so that each gets the
            seed that it has among all.
    """
    old = random_seeds(state)
    if old is None:
        return state
    total, index = members or (1, torch.zeros(1, dtype=torch.int64, device=old.device))
    size = old.shape[1] // len(index)  # numbers of a member
    new = torch.randint(1, 2**63 - 1, (len(old), total * size), generator=rng, device=old.device)
    if members is not None:
        sizes = [prod(key.seed.shape[2:]) for key in _keys(state)]
        parts = new.split([total * size for size in sizes], 1)
        new = torch.cat([p.unflatten(1, (total, -1))[:, index].flatten(1) for p in parts], 1)
    return with_random_seeds(state, torch.where(old == 0, new, old))


def random_seeds(state: State) -> Int[Tensor, "B seeds"] | None:
    """The seeds of all keys in a state, side by side; None of a state without keys.

    Args:
        state: of a core.
    """
    found = [key.seed.reshape(len(key.seed), -1) for key in _keys(state)]
    return torch.cat(found, 1) if found else None


def with_random_seeds(state: State, seeds: Int[Tensor, "B seeds"]) -> State:
    """The state with other seeds.

    Args:
        state: of a core.
        seeds: as `random_seeds` returns them.
    """
    start = 0

    def replace(key: RandomKey) -> RandomKey:
        nonlocal start
        size = prod(key.seed.shape[1:])
        start += size
        return key._replace(seed=seeds[:, start - size : start].reshape(key.seed.shape))

    return _map_keys(state, replace)


def _keys(state: State) -> Iterator[RandomKey]:
    if isinstance(state, RandomKey):
        yield state
    elif isinstance(state, tuple):
        for part in state:
            yield from _keys(part)


def _map_keys(state: State, visit: Callable[[RandomKey], RandomKey]) -> State:
    if isinstance(state, RandomKey):
        return visit(state)
    if not isinstance(state, tuple):
        return state
    parts = [_map_keys(part, visit) for part in state]
    return type(state)(*parts) if hasattr(state, "_fields") else tuple(parts)


def _split_mix(seed: Int[Tensor, "*_"], index: Int[Tensor, "*_"]) -> Int[Tensor, "*_"]:
    """64 bits: number `index` of the SplitMix64 sequence of a seed; broadcasts. Integers wrap around."""
    z = seed + (index + 1) * GAMMA
    z = (z ^ _shift_right(z, 30)) * MIX_1
    z = (z ^ _shift_right(z, 27)) * MIX_2
    return z ^ _shift_right(z, 31)


def _shift_right(z: Int[Tensor, "*B"], bits: int) -> Int[Tensor, "*B"]:
    """Logical, where that of int64 repeats the sign."""
    return (z >> bits) & ((1 << (64 - bits)) - 1)
