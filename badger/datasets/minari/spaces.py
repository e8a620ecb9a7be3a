"""Spaces in the metadata of Minari, and observations between its form and the flat numbers of an agent.

Shapes: n rows of a batch.
"""

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class ObsCode(NamedTuple):
    """An observation space, and the conversion of recorded observations to flat numbers.

    Args:
        size: O.
        dtype: of the numbers.
        shape: of a recorded observation.
        decode: recorded observations (n, *shape) to (n, O).
    """

    size: int
    dtype: np.dtype
    shape: tuple[int, ...]
    decode: Callable[[np.ndarray], np.ndarray]


def read_obs_space(text: str) -> ObsCode:
    """The observation space that Minari has written.

    Args:
        text: JSON.

    Raises:
        ValueError: it is neither a Box nor Discrete.
    """
    space = parse_space(text)
    if space["type"] == "Discrete":
        size, start = int(space["n"]), int(space.get("start", 0))
        return ObsCode(size, np.dtype(np.float32), (), lambda obs: _one_hot(obs.astype(np.int64) - start, size))
    if space["type"] == "Box":
        dtype = np.dtype(space["dtype"])
        dtype, shape = dtype if dtype.kind == "f" else np.dtype(np.float32), tuple(map(int, space["shape"]))
        return ObsCode(int(np.prod(shape)), dtype, shape, lambda obs: obs.reshape(len(obs), -1).astype(dtype))
    raise ValueError(f"the observation space is {describe_space(space)}, want Box or Discrete")


def write_box(shape: tuple[int, ...], dtype: np.dtype, low: float, high: float) -> str:
    """A Box in Minari's JSON.

    Args:
        shape: of a value.
        dtype: of its numbers.
        low: lower bound of all numbers.
        high: upper bound.
    """
    bounds = {name: np.full(shape, bound).tolist() for name, bound in {"low": low, "high": high}.items()}
    return json.dumps({"type": "Box", "dtype": str(dtype), "shape": list(shape), **bounds})


def _one_hot(values: np.ndarray, size: int) -> np.ndarray:
    """(n,) -> (n, size); a value outside of the space is NaN, which the check of the data set names."""
    outside = (values < 0) | (values >= size)
    rows = np.eye(size, dtype=np.float32)[np.where(outside, 0, values)]
    rows[outside] = np.nan
    return rows


def parse_space(text: str) -> dict[str, Any]:
    """A space of Minari's metadata.

    Args:
        text: JSON.

    Raises:
        ValueError: it is no space.
    """
    space = json.loads(text)
    if not isinstance(space, dict) or "type" not in space:
        raise ValueError(f"a space is {text!r}, want an object with a type")
    return space


def describe_space(space: dict[str, Any]) -> str:
    """The type of a space, for messages.

    Args:
        space: from `parse_space`.
    """
    return f"{space['type']} of {space['dtype']}" if "dtype" in space else str(space["type"])
