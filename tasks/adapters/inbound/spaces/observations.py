"""Conversion of observations of any space to flat arrays of numbers, and a description of their parts.

Shapes: n rows of a batch, O numbers of an observation.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from tasks.adapters.inbound.spaces.images import image_layout
from tasks.adapters.inbound.spaces.text import TEXT_SIZE, hashed_words
from tasks.adapters.optional_imports import require_gymnasium
from tasks.observations import ObsPart

ACTION_MASK_KEY = "action_mask"  # in a dict observation, or in the info of a step
READABLE = "want Box, Discrete, MultiDiscrete, MultiBinary, Text, OneOf, or a Dict or Tuple of these"


class _Leaf(NamedTuple):
    path: tuple[Any, ...]  # keys from the observation to this part
    part: ObsPart
    encode: Callable[[Any, int], np.ndarray]  # (values of n rows, n) -> (n, size)


class ObservationCodec:
    """Flattens observations of a space; discrete values become one-hot, texts counts of words.

    The order is that of `gymnasium.spaces.flatten`. An action mask, the key `action_mask` of a dict, is left out.

    Args:
        space: of one environment, or of one agent.
        owner: whose space it is, for errors.

    Raises:
        ValueError: a part of the space has no fixed size; the message names it.
    """

    def __init__(self, space: Any, owner: str):
        self.space, self.owner = space, owner
        kinds = require_gymnasium().spaces
        self.has_mask = isinstance(space, kinds.Dict) and ACTION_MASK_KEY in space.spaces
        self.leaves = [leaf for leaf in _leaves(space, (), owner) if leaf.path[:1] != (ACTION_MASK_KEY,)]
        self.parts = tuple(leaf.part for leaf in self.leaves)
        self.size = sum(part.size for part in self.parts)
        if not self.size:
            raise ValueError(f"{owner} has the observation space {space}, in which there is nothing to observe")
        self.dtype = np.result_type(np.float32, *(_part_dtype(space, leaf.path) for leaf in self.leaves))

    def encode(self, obs: Any, rows: int) -> np.ndarray:
        """Flat observations (n, O).

        Args:
            obs: a batch: arrays with a leading axis, or lists, in the structure of the space.
            rows: n.
        """
        return self._encode([_get(obs, leaf.path) for leaf in self.leaves], rows)

    def flatten(self, obs: Any) -> np.ndarray:
        """One flat observation (O,), or a batch of them (n, O).

        Args:
            obs: one observation of the space, or a batch as vectorized environments give it.

        Raises:
            ValueError: an observation of another shape.
        """
        path = self.leaves[0].path
        values = [_get(obs, leaf.path) for leaf in self.leaves]
        shape, found = tuple(_get_space(self.space, path).shape or ()), np.shape(values[0])
        if found not in (shape, (*found[:1], *shape)):
            raise ValueError(f"obs has the shape {found}, want {shape}, or with an axis of the batch in front")
        if found == shape:
            return self._encode([[value] for value in values], 1)[0]
        return self._encode(values, len(values[0]))

    def _encode(self, values: list[Any], rows: int) -> np.ndarray:
        if len(values) == 1:
            return self.leaves[0].encode(values[0], rows)
        flat, start = np.empty((rows, self.size), self.dtype), 0
        for leaf, value in zip(self.leaves, values, strict=True):
            flat[:, start : start + leaf.part.size] = leaf.encode(value, rows)
            start += leaf.part.size
        return flat


def _get(obs: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        obs = obs[key]
    return obs


def _get_space(space: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        space = space.spaces[key]
    return space


def _part_dtype(space: Any, path: tuple[Any, ...]) -> Any:
    space = _get_space(space, path)
    return space.dtype if isinstance(space, require_gymnasium().spaces.Box) else np.dtype(np.float32)


def _leaves(space: Any, path: tuple[Any, ...], owner: str) -> Iterator[_Leaf]:
    """The parts of a space, in the order of `gymnasium.spaces.flatten`."""
    kinds = require_gymnasium().spaces
    if isinstance(space, kinds.Dict | kinds.Tuple):
        parts = space.spaces.items() if isinstance(space.spaces, Mapping) else enumerate(space.spaces)
        for key, part in parts:
            yield from _leaves(part, (*path, key), owner)
        return
    name = "".join(f"[{key!r}]" for key in path)
    if isinstance(space, kinds.Box):
        yield _Leaf(path, _box_part(space, name), lambda values, rows: np.asarray(values).reshape(rows, -1))
    elif isinstance(space, kinds.Discrete):
        yield _Leaf(path, ObsPart("one_hot", (int(space.n),), name), _one_hot([space.n], space.start))
    elif isinstance(space, kinds.MultiDiscrete):
        nvec = space.nvec.ravel()
        encode = _one_hot(nvec, getattr(space, "start", np.zeros_like(space.nvec)).ravel())
        yield _Leaf(path, ObsPart("one_hot", (int(nvec.sum()),), name), encode)
    elif isinstance(space, kinds.MultiBinary):
        size = int(np.prod(space.shape))
        yield _Leaf(path, ObsPart("one_hot", (size,), name), lambda values, rows: np.asarray(values).reshape(rows, -1))
    elif getattr(space.dtype, "kind", "") == "U":  # a Text, or a space of its own kind, such as MiniGrid's missions
        yield _Leaf(
            path, ObsPart("text", (TEXT_SIZE,), name), lambda values, rows: np.stack([hashed_words(v) for v in values])
        )
    elif space.is_np_flattenable:
        size, flatten = kinds.flatdim(space), kinds.flatten
        yield _Leaf(
            path,
            ObsPart("vector", (size,), name),
            lambda values, rows: np.stack([flatten(space, value) for value in values]),
        )
    else:
        raise ValueError(
            f"{owner}: observation{name} has the space {space}, which has no fixed size, {READABLE}; wrap it in "
            "gymnasium.wrappers.TransformObservation"
        )


def _box_part(box: Any, name: str) -> ObsPart:
    layout = image_layout(box)
    if not layout:
        return ObsPart("vector", tuple(map(int, box.shape)), name)
    low, high = float(box.low.min()), float(box.high.max())
    return ObsPart("image", tuple(map(int, box.shape)), name, layout, low, high, whole=box.dtype == np.uint8)


def _one_hot(nvec: Any, start: Any) -> Callable[[Any, int], np.ndarray]:
    """An encoder of symbols, whose range has been checked: one-hot for each of k numbers, (n, sum(nvec))."""
    sizes, first = np.asarray(nvec, np.int64), np.asarray(start, np.int64)
    offset, total = np.cumsum(sizes) - sizes, int(sizes.sum())

    def encode(values: Any, rows: int) -> np.ndarray:
        symbols = np.asarray(values).reshape(rows, -1) - first
        flat = np.zeros((rows, total), np.float32)
        np.put_along_axis(flat, (symbols + offset).astype(np.int64), 1, 1)
        return flat

    return encode
