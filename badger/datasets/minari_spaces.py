"""Spaces in the metadata of Minari, and values between its form and that of an agent.

An agent observes flat numbers, and acts by choices from 0 on or by real numbers, as in `tasks.Gymnasium`.

Shapes: n rows of a batch.
"""

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tasks import ActionSpace, Continuous, Discrete, Mixed, MultiDiscrete
from tasks.adapters.inbound.spaces.actions import common_bounds


class ActionCode(NamedTuple):
    """An action space, and the conversion of recorded actions to it.

    Args:
        space: of the agent.
        shape: of a recorded action.
        decode: recorded actions (n, *shape) to those of the space.
    """

    space: ActionSpace
    shape: tuple[int, ...]
    decode: Callable[[np.ndarray], np.ndarray]


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


def read_action_space(text: str) -> ActionCode:
    """The action space that Minari has written.

    Args:
        text: JSON.

    Raises:
        ValueError: it is not Discrete, MultiDiscrete or a Box of real numbers.
    """
    space = _parse(text)
    if space["type"] == "Discrete":
        start = int(space.get("start", 0))
        return ActionCode(Discrete(int(space["n"])), (), lambda action: action.astype(np.int64) - start)
    if space["type"] == "MultiDiscrete":
        nvec, first = np.array(space["nvec"]), np.array(space.get("start", 0))
        codes = MultiDiscrete(tuple(int(n) for n in nvec.ravel()))
        return ActionCode(codes, nvec.shape, lambda action: (action.astype(np.int64) - first).reshape(len(action), -1))
    if space["type"] == "Box" and np.dtype(space["dtype"]).kind == "f":
        return _box_action(space)
    raise ValueError(f"the action space is {_shown(space)}, want Discrete, MultiDiscrete or a Box of real numbers")


def read_obs_space(text: str) -> ObsCode:
    """The observation space that Minari has written.

    Args:
        text: JSON.

    Raises:
        ValueError: it is neither a Box nor Discrete.
    """
    space = _parse(text)
    if space["type"] == "Discrete":
        size, start = int(space["n"]), int(space.get("start", 0))
        return ObsCode(size, np.dtype(np.float32), (), lambda obs: _one_hot(obs.astype(np.int64) - start, size))
    if space["type"] == "Box":
        dtype = np.dtype(space["dtype"])
        dtype, shape = dtype if dtype.kind == "f" else np.dtype(np.float32), tuple(map(int, space["shape"]))
        return ObsCode(int(np.prod(shape)), dtype, shape, lambda obs: obs.reshape(len(obs), -1).astype(dtype))
    raise ValueError(f"the observation space is {_shown(space)}, want Box or Discrete")


def write_action_space(space: ActionSpace, dtype: np.dtype) -> str:
    """An action space in Minari's JSON.

    Args:
        space: of the agent.
        dtype: of real numbers.

    Raises:
        ValueError: choices beside real numbers.
    """
    if isinstance(space, Discrete):
        return json.dumps({"type": "Discrete", "dtype": "int64", "start": 0, "n": space.n})
    if isinstance(space, MultiDiscrete):
        start = [0] * len(space.nvec)
        return json.dumps({"type": "MultiDiscrete", "dtype": "int64", "nvec": list(space.nvec), "start": start})
    if isinstance(space, Mixed):
        raise ValueError(f"actions are {space}, and a Minari data set is written of choices or of numbers, not of both")
    return write_box((space.size,), dtype, space.low, space.high)


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


def _box_action(space: dict[str, Any]) -> ActionCode:
    """Real numbers, from -1 to 1 where their bounds differ, without those whose bounds are equal."""
    shape, dtype = tuple(map(int, space["shape"])), np.dtype(space["dtype"])
    low, high = (np.broadcast_to(np.array(space[end], dtype), shape).ravel().astype(float) for end in ("low", "high"))
    free = low < high
    if not free.any():
        raise ValueError(f"the action space is {_shown(space)}, in which there is nothing to choose")
    low, high = low[free], high[free]
    lowest, highest, scaled = common_bounds([(low, high)])

    def decode(action: np.ndarray) -> np.ndarray:
        numbers = action.reshape(len(action), -1)[:, free]
        return ((numbers - low) / (high - low) * 2 - 1).astype(dtype) if scaled else numbers

    return ActionCode(Continuous(int(free.sum()), lowest, highest), shape, decode)


def _one_hot(values: np.ndarray, size: int) -> np.ndarray:
    """(n,) -> (n, size); a value outside of the space is NaN, which the check of the data set names."""
    outside = (values < 0) | (values >= size)
    rows = np.eye(size, dtype=np.float32)[np.where(outside, 0, values)]
    rows[outside] = np.nan
    return rows


def _parse(text: str) -> dict[str, Any]:
    space = json.loads(text)
    if not isinstance(space, dict) or "type" not in space:
        raise ValueError(f"a space is {text!r}, want an object with a type")
    return space


def _shown(space: dict[str, Any]) -> str:
    return f"{space['type']} of {space['dtype']}" if "dtype" in space else str(space["type"])
