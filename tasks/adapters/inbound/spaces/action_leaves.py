"""The parts of an action: choices between options, and real numbers.

Shapes: n rows of a batch, k choices or numbers of a part.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from tasks.adapters.optional_imports import require_gymnasium

MAX_OPTIONS = 256  # integers of a Box with more values are rounded real numbers
UNBOUNDED = 1e30  # a bound beyond this is none
SUPPORTED = "want Discrete, MultiDiscrete, MultiBinary, Box, or a Dict or Tuple of these"


class Choices(NamedTuple):
    """A part of discrete choices: Discrete, MultiDiscrete, MultiBinary, or a Box of few integers.

    Args:
        path: keys from the action to this part.
        space: of this part.
        nvec: the number of options of each choice.
        first: the value of the first option of each choice, (k,).
    """

    path: tuple[Any, ...]
    space: Any
    nvec: tuple[int, ...]
    first: np.ndarray

    def to_env(self, choices: np.ndarray) -> np.ndarray:
        """Values (n, *shape) in the dtype of the space; choices are (n, k)."""
        return (choices + self.first).astype(self.space.dtype).reshape(len(choices), *self.space.shape)

    def mask(self, mask: Any) -> np.ndarray:
        """A mask of the environment as one flag for each option; for a MultiBinary also 0 and 1 fixed, 2 free.

        Args:
            mask: one value for each option, in one array or several; None: all options are allowed.
        """
        total = sum(self.nvec)
        if mask is None:
            return np.ones(total, bool)
        flat = np.concatenate([np.ravel(part) for part in _arrays(mask)])
        if isinstance(self.space, require_gymnasium().spaces.MultiBinary) and len(flat) == len(self.nvec):
            return np.stack([flat != 1, flat != 0], -1).ravel()
        return flat.astype(bool)


class Numbers(NamedTuple):
    """A part of real numbers: a Box. Components whose bounds are equal are constant and not chosen.

    Args:
        path: keys from the action to this part.
        space: of this part.
        free: mask of the components that are chosen.
    """

    path: tuple[Any, ...]
    space: Any
    free: np.ndarray

    @property
    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper bounds (k,) of the free components."""
        low, high = (end.ravel()[self.free].astype(float) for end in (self.space.low, self.space.high))
        return np.where(low < -UNBOUNDED, -np.inf, low), np.where(high > UNBOUNDED, np.inf, high)

    def to_env(self, numbers: np.ndarray, scaled: bool) -> np.ndarray:
        """Values (n, *shape), clipped to the bounds; numbers are (n, k), from -1 to 1 if they are `scaled`."""
        low, high = self.bounds
        values = np.clip(low + (numbers + 1) / 2 * (high - low) if scaled else numbers, low, high)
        if self.space.dtype.kind != "f":
            info = np.iinfo(self.space.dtype)
            values = np.clip(np.rint(values), info.min, info.max)
        whole = np.repeat(self.space.low.reshape(1, -1), len(numbers), 0)
        whole[:, self.free] = values.astype(self.space.dtype)
        return whole.reshape(len(numbers), *self.space.shape)


def action_leaves(space: Any, owner: str, path: tuple[Any, ...] = ()) -> Iterator[Choices | Numbers]:
    """The parts of an action space, in the order of `gymnasium.spaces.flatten`.

    Args:
        space: the action space.
        owner: whose space it is, for errors.
        path: keys from the whole action to this part.

    Raises:
        ValueError: a part that cannot be chosen; the message names it.
    """
    kinds = require_gymnasium().spaces
    if isinstance(space, kinds.Dict):
        for key, part in space.spaces.items():
            yield from action_leaves(part, owner, (*path, key))
    elif isinstance(space, kinds.Tuple):
        for i, part in enumerate(space.spaces):
            yield from action_leaves(part, owner, (*path, i))
    elif isinstance(space, kinds.Discrete):
        yield Choices(path, space, (int(space.n),), np.array([space.start]))
    elif isinstance(space, kinds.MultiDiscrete):
        first = np.broadcast_to(getattr(space, "start", 0), space.nvec.shape).ravel()
        yield Choices(path, space, tuple(int(n) for n in space.nvec.ravel()), first)
    elif isinstance(space, kinds.MultiBinary):
        size = int(np.prod(space.shape))
        yield Choices(path, space, (2,) * size, np.zeros(size, np.int64))
    elif isinstance(space, kinds.Box) and space.dtype.kind in "biuf":
        yield _box_leaf(path, space)
    else:
        name = "".join(f"[{key!r}]" for key in path)
        raise ValueError(
            f"{owner}: action{name} has the space {space}, {SUPPORTED}; wrap it in gymnasium.wrappers.TransformAction"
        )


def _box_leaf(path: tuple[Any, ...], box: Any) -> Choices | Numbers:
    low, high = box.low.ravel(), box.high.ravel()
    if box.dtype.kind != "f":
        options = high.astype(float) - low.astype(float) + 1
        if (options <= MAX_OPTIONS).all():
            return Choices(path, box, tuple(int(n) for n in options), low.astype(np.int64))
    return Numbers(path, box, low < high)


def _arrays(mask: Any) -> Iterator[Any]:
    """The arrays of nested tuples and lists."""
    if isinstance(mask, tuple | list):
        for part in mask:
            yield from _arrays(part)
    else:
        yield mask
