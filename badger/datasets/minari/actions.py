"""Action spaces in the metadata of Minari, and recorded actions between its form and that of an agent.

An agent acts by choices from 0 on, by real numbers, or by both, as in `tasks.Gymnasium`. A tuple or dict of spaces has
an array for each part.

Shapes: n rows of a batch, k choices, D real numbers.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from badger.datasets.minari.spaces import describe_space, parse_space, write_box
from tasks import ActionSpace, Continuous, Discrete, Mixed, MultiDiscrete
from tasks.adapters.inbound.spaces.actions import common_bounds, join_spaces

ACTIONS = "actions"


class ActionCode(NamedTuple):
    """An action space, and the conversion of recorded actions to it.

    Args:
        space: of the agent.
        shapes: of the parts of a recorded action, by their names in the file.
        decode: the parts (n, *shape), in this order, to actions of the space.
    """

    space: ActionSpace
    shapes: dict[str, tuple[int, ...]]
    decode: Callable[[list[np.ndarray]], np.ndarray]


class _Choices(NamedTuple):
    """Choices (n, k) of one array; those of a Discrete space have no axis in the file."""

    name: str
    shape: tuple[int, ...]
    nvec: tuple[int, ...]
    start: np.ndarray

    def decode(self, action: np.ndarray) -> np.ndarray:
        return (action.astype(np.int64) - self.start).reshape(len(action), -1)


class _Numbers(NamedTuple):
    """Real numbers (n, D) of one array, without those whose bounds are equal."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    free: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def decode(self, action: np.ndarray, scaled: bool) -> np.ndarray:
        """The numbers, from -1 to 1 where bounds differ."""
        numbers = action.reshape(len(action), -1)[:, self.free]
        return ((numbers - self.low) / (self.high - self.low) * 2 - 1).astype(self.dtype) if scaled else numbers


def read_action_space(text: str) -> ActionCode:
    """The action space that Minari has written.

    Args:
        text: JSON.

    Raises:
        ValueError: a part is not Discrete, MultiDiscrete or a Box of real numbers.
    """
    parts = list(_parts(parse_space(text), ACTIONS))
    numbers = [part for part in parts if isinstance(part, _Numbers) and part.free.any()]
    nvec = tuple(n for part in parts if isinstance(part, _Choices) for n in part.nvec)
    if not nvec and not numbers:
        raise ValueError(f"the action space is {text}, in which there is nothing to choose")
    low, high, scaled = common_bounds([(part.low, part.high) for part in numbers]) if numbers else (0.0, 0.0, False)
    size = sum(len(part.low) for part in numbers)
    single = not numbers and len(parts) == 1 and not parts[0].shape

    def decode(arrays: list[np.ndarray]) -> np.ndarray:
        both = list(zip(parts, arrays, strict=True))
        columns = [part.decode(array) for part, array in both if isinstance(part, _Choices)]
        columns += [part.decode(array, scaled) for part, array in both if isinstance(part, _Numbers)]
        joined = np.concatenate(columns, 1)
        return joined[:, 0] if single else joined.astype(numbers[0].dtype) if numbers else joined

    space = join_spaces(nvec, single, Continuous(size, low, high))
    return ActionCode(space, {part.name: part.shape for part in parts}, decode)


def write_action_space(space: ActionSpace, dtype: np.dtype) -> str:
    """An action space in Minari's JSON; choices beside real numbers are a tuple of both.

    Args:
        space: of the agent.
        dtype: of real numbers.
    """
    if isinstance(space, Mixed):
        both = [json.loads(write_action_space(part, dtype)) for part in (space.choices, space.numbers)]
        return json.dumps({"type": "Tuple", "subspaces": both})
    if isinstance(space, Discrete):
        return json.dumps({"type": "Discrete", "dtype": "int64", "start": 0, "n": space.n})
    if isinstance(space, MultiDiscrete):
        start = [0] * len(space.nvec)
        return json.dumps({"type": "MultiDiscrete", "dtype": "int64", "nvec": list(space.nvec), "start": start})
    return write_box((space.size,), dtype, space.low, space.high)


def encode_actions(space: ActionSpace, action: np.ndarray) -> dict[str, np.ndarray]:
    """The arrays of actions in the file, by name.

    Args:
        space: of the agent.
        action: its actions, with any leading axes.
    """
    if not isinstance(space, Mixed):
        return {ACTIONS: action}
    choices, numbers = np.split(action, [len(space.choices.nvec)], -1)
    return {f"{ACTIONS}/_index_0": choices.astype(np.int64), f"{ACTIONS}/_index_1": numbers}


def _parts(space: dict[str, Any], name: str) -> Iterator[_Choices | _Numbers]:
    """The parts of a space that have an array, with its name."""
    kind = space["type"]
    if kind in ("Tuple", "Dict"):
        spaces = space["subspaces"]
        named = spaces.items() if kind == "Dict" else ((f"_index_{i}", part) for i, part in enumerate(spaces))
        for key, part in named:
            yield from _parts(part, f"{name}/{key}")
    elif kind == "Discrete":
        yield _Choices(name, (), (int(space["n"]),), np.array(int(space.get("start", 0))))
    elif kind == "MultiDiscrete":
        nvec = np.array(space["nvec"])
        yield _Choices(name, nvec.shape, tuple(int(n) for n in nvec.ravel()), np.array(space.get("start", 0)))
    elif kind == "Box" and np.dtype(space["dtype"]).kind == "f":
        shape, dtype = tuple(map(int, space["shape"])), np.dtype(space["dtype"])
        low, high = (np.broadcast_to(np.array(space[e], dtype), shape).ravel().astype(float) for e in ("low", "high"))
        free = low < high
        yield _Numbers(name, shape, dtype, free, low[free], high[free])
    else:
        raise ValueError(
            f"the action space is {describe_space(space)}, want Discrete, MultiDiscrete, a Box of real numbers, or a "
            "Tuple or Dict of these"
        )
