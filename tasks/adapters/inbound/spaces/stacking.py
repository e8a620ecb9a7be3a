"""Observations of several rows as one block, and checks of what an environment returns.

A block is checked once for all rows; the row that is wrong is looked for only if the block is.

Shapes: n rows of a batch.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

LARGEST = float(np.finfo(np.float32).max)


class InvalidObservation(ValueError):
    """An observation that does not belong to its space, or is not finite."""


def stack_observations(space: Any, observations: list[Any]) -> Any:
    """Observations of n rows as arrays with a leading axis, in the structure of the space; texts as lists.

    Args:
        space: of each observation.
        observations: one for each row.

    Raises:
        Exception: of whatever kind: an observation does not belong to the space; `check_observation` says which part.
    """
    parts = getattr(space, "spaces", None)
    if isinstance(parts, Mapping):
        return {key: stack_observations(part, [obs[key] for obs in observations]) for key, part in parts.items()}
    if isinstance(parts, tuple) and _is_product(space):
        return tuple(stack_observations(part, [obs[i] for obs in observations]) for i, part in enumerate(parts))
    if space.shape is None or not _is_numeric(space):
        if not all(_is_other(space, obs) for obs in observations):
            raise InvalidObservation("values")
        return observations
    block = np.array(observations)
    if block.shape[1:] != space.shape:
        raise InvalidObservation(f"shape {block.shape[1:]}")
    if block.dtype != space.dtype:
        cast = block.astype(space.dtype)
        if cast.dtype.kind != "f" and not np.array_equal(cast, block):
            raise InvalidObservation(f"dtype {block.dtype}")
        block = cast
    if not _is_valid(block, space):
        raise InvalidObservation("values")
    return block


def check_observation(space: Any, obs: Any, where: str = "observation") -> None:
    """Checks one observation: the structure and the shapes of its space, its dtype, and finite numbers.

    Args:
        space: of the observation.
        obs: what an environment returned.
        where: the name of the part, for the message.

    Raises:
        InvalidObservation: with the part and what is wrong with it, as "the observation ..., want ...".
    """
    parts = getattr(space, "spaces", None)
    if isinstance(parts, Mapping):
        if not isinstance(obs, Mapping) or not set(parts) <= set(obs):
            got = sorted(obs) if isinstance(obs, Mapping) else type(obs).__name__
            raise InvalidObservation(f"the {where} {got}, want a dict of {sorted(parts)}")
        for key, part in parts.items():
            check_observation(part, obs[key], f"{where}[{key!r}]")
    elif isinstance(parts, tuple) and _is_product(space):
        if not isinstance(obs, tuple | list) or len(obs) != len(parts):
            raise InvalidObservation(f"the {where} {obs!r}, want a tuple of {len(parts)}")
        for i, part in enumerate(parts):
            check_observation(part, obs[i], f"{where}[{i}]")
    elif space.shape is not None and _is_numeric(space):
        _check_array(obs, space, where)
    elif not _is_other(space, obs):
        raise InvalidObservation(f"the {where} {obs!r}, want a value of {space}")


def update_rows(block: Any, rows: np.ndarray, new: Any) -> Any:
    """A block with other values in some rows; the old block is not changed.

    Args:
        block: from `stack_observations`.
        rows: the indices of k rows.
        new: a block of k rows.
    """
    if isinstance(block, dict):
        return {key: update_rows(part, rows, new[key]) for key, part in block.items()}
    if isinstance(block, tuple):
        return tuple(update_rows(part, rows, other) for part, other in zip(block, new, strict=True))
    if isinstance(block, list):
        changed = dict(zip(rows.tolist(), new, strict=True))
        return [changed.get(i, value) for i, value in enumerate(block)]
    block = block.copy()
    block[rows] = new
    return block


def _is_product(space: Any) -> bool:
    """Whether a value has all parts, as of a Tuple; not one of them, as of a OneOf."""
    return type(space).__name__ != "OneOf"


def _is_numeric(space: Any) -> bool:
    return getattr(space.dtype, "kind", "O") in "biuf"


def _is_other(space: Any, obs: Any) -> bool:
    """Whether a value that is no array belongs to its space; any text does."""
    return isinstance(obs, str) if getattr(space.dtype, "kind", "") == "U" else space.contains(obs)


def _is_valid(block: np.ndarray, space: Any) -> bool:
    """Whether all numbers are finite numbers of float32, and all symbols belong to the space."""
    if block.dtype.kind == "f":
        return bool((np.abs(block) <= LARGEST).all())  # False for NaN
    return all(bool((low <= block).all() and (block < high).all()) for low, high in _symbol_bounds(space))


def _symbol_bounds(space: Any) -> Iterator[tuple[Any, Any]]:
    """The range of the numbers of a discrete space."""
    if hasattr(space, "n") and hasattr(space, "start"):
        yield space.start, space.start + space.n
    elif hasattr(space, "nvec"):
        start = getattr(space, "start", 0)
        yield start, start + space.nvec


def _check_array(obs: Any, space: Any, where: str) -> None:
    try:
        array = np.asarray(obs)
    except ValueError as error:  # parts of different lengths
        raise InvalidObservation(f"the {where} {obs!r}, want an array of shape {space.shape}: {error}") from error
    if array.shape != space.shape:
        raise InvalidObservation(f"the {where} of shape {array.shape}, want {space.shape} of its space")
    if array.dtype.kind not in "biuf":
        raise InvalidObservation(f"the {where} of dtype {array.dtype}, want {space.dtype} of its space")
    if array.dtype.kind == "f":
        wrong = np.argwhere(~(np.abs(array) <= LARGEST))
        if len(wrong):
            index = tuple(int(i) for i in wrong[0])
            want = "finite numbers" if not np.isfinite(array[index]) else f"at most {LARGEST:.3g}, as float32 holds"
            raise InvalidObservation(f"the {where} {array[index]} at {index}, want {want}")
    cast = array.astype(space.dtype)
    if cast.dtype.kind != "f" and not np.array_equal(cast, array):
        raise InvalidObservation(f"the {where} of dtype {array.dtype}, want {space.dtype} of its space: {obs!r}")
    if not _is_valid(cast, space):
        raise InvalidObservation(f"the {where} {obs!r}, want a value of {space}")
