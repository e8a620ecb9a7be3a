"""Conversion of an agent's actions to the structure and dtype of an action space.

Shapes: n rows of a batch, k choices, D real numbers, A options of all choices.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from tasks.adapters.inbound.spaces.action_leaves import Choices, Numbers, action_leaves
from tasks.task import ActionSpace, Continuous, Discrete, Mixed, MultiDiscrete


class ActionCodec:
    """Converts actions of an agent to those of an environment: choices, and real numbers, of all parts of a space.

    Discrete spaces, and Boxes of few integers, become choices; a Box becomes real numbers, without the components whose
    bounds are equal. In an action that has both, choices come first.

    Args:
        space: of one environment, or of one agent.
        owner: whose space it is, for errors.

    Raises:
        ValueError: a part that cannot be chosen; the message names it.
    """

    def __init__(self, space: Any, owner: str):
        self.space, self.owner = space, owner
        self.leaves = list(action_leaves(space, owner))
        numbers = [leaf for leaf in self.leaves if isinstance(leaf, Numbers) and leaf.free.any()]
        choices = [leaf for leaf in self.leaves if isinstance(leaf, Choices)]
        constant = () if numbers else (1,)  # a constant action has one option
        self.nvec = tuple(n for leaf in choices for n in leaf.nvec) or constant
        self.single = not numbers and len(self.nvec) == 1 and not any(leaf.space.shape for leaf in choices)
        self.size = sum(int(leaf.free.sum()) for leaf in numbers)
        self.low, self.high, self.scaled = common_bounds([self.bounds]) if numbers else (0.0, 0.0, False)

    @property
    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper bounds of all real numbers."""
        low, high = zip(*(leaf.bounds for leaf in self.leaves if isinstance(leaf, Numbers)), strict=True)
        return np.concatenate(low), np.concatenate(high)

    @property
    def action_space(self) -> ActionSpace:
        """The action space of the agent."""
        return join_spaces(self.nvec, self.single, Continuous(self.size, self.low, self.high))

    def to_env(self, action: np.ndarray, scaled: bool | None = None) -> Any:
        """Actions of n rows: an array with a leading axis, or a list, in the structure and dtype of the space.

        Args:
            action: choices (n,) or (n, k), real numbers (n, D), or both (n, k + D).
            scaled: whether numbers from -1 to 1 are rescaled to the bounds; None: as `action_space` needs it.
        """
        choices, numbers = np.split(action.reshape(len(action), -1), [len(self.nvec)], 1)
        values: dict[tuple[Any, ...], np.ndarray] = {}
        for leaf in self.leaves:
            if isinstance(leaf, Choices):
                part, choices = np.split(choices, [len(leaf.nvec)], 1)
                values[leaf.path] = leaf.to_env(part)
            else:
                part, numbers = np.split(numbers, [int(leaf.free.sum())], 1)
                values[leaf.path] = leaf.to_env(part, self.scaled if scaled is None else scaled)
        if () in values and (values[()].ndim > 1 or values[()].dtype.kind in "iu"):
            return values[()]
        return [_assemble(self.space, (), values, row) for row in range(len(action))]

    def flat_mask(self, mask: Any) -> np.ndarray:
        """The mask (A,) of all options; a choice without any allowed option allows all.

        Args:
            mask: one value for each option in one array, or a mask for each part in the structure of the space; None
                allows all options of a part.

        Raises:
            ValueError: another size.
        """
        total = sum(self.nvec)
        if isinstance(mask, np.ndarray) and mask.size == total:
            flat = mask.reshape(-1).astype(bool)
        else:
            choices = [leaf for leaf in self.leaves if isinstance(leaf, Choices)]
            flat = np.concatenate([leaf.mask(_part(mask, leaf.path)) for leaf in choices] or [np.ones(total, bool)])
        if len(flat) != total:
            several = f", one for each option of {len(self.nvec)} choices; combinations of them need one Discrete space"
            advice = several if len(self.nvec) > 1 else ""
            raise ValueError(f"{self.owner} received an action_mask of {len(flat)} values, want {total}{advice}")
        if flat.all():
            return flat
        parts = np.split(flat, np.cumsum(self.nvec)[:-1])
        return np.concatenate([part if part.any() else np.ones_like(part) for part in parts])


def join_spaces(nvec: tuple[int, ...], single: bool, numbers: Continuous) -> ActionSpace:
    """The action space of an agent that has choices, real numbers, or both.

    Args:
        nvec: the number of options of each choice.
        single: whether it is one choice without an axis.
        numbers: the real numbers, of size 0 if there are none.
    """
    if not numbers.size:
        return Discrete(nvec[0]) if single else MultiDiscrete(nvec)
    return Mixed(MultiDiscrete(nvec), numbers) if nvec else numbers


def common_bounds(bounds: Iterable[tuple[np.ndarray, np.ndarray]]) -> tuple[float, float, bool]:
    """Lower bound, upper bound, and whether actions are rescaled.

    The bounds are the common ones of all numbers; if they differ and are finite, -1 and 1 with rescaling.

    Args:
        bounds: lower and upper bounds of the numbers of each agent.
    """
    low, high = (np.concatenate(ends) for ends in zip(*bounds, strict=True))
    equal = (low == low[0]).all() and (high == high[0]).all()
    if not equal and np.isfinite(low).all() and np.isfinite(high).all():
        return -1.0, 1.0, True
    return float(low.min()), float(high.max()), False


def _part(mask: Any, path: tuple[Any, ...]) -> Any:
    """The mask of a part; None where there is none."""
    for key in path:
        if mask is None:
            return None
        mask = mask.get(key) if isinstance(mask, Mapping) else mask[key]
    return mask


def _assemble(space: Any, path: tuple[Any, ...], values: Mapping[tuple[Any, ...], np.ndarray], row: int) -> Any:
    """The action of one row in the structure of the space."""
    parts = getattr(space, "spaces", None)
    if isinstance(parts, Mapping):
        return {key: _assemble(part, (*path, key), values, row) for key, part in parts.items()}
    if parts is not None:
        return tuple(_assemble(part, (*path, i), values, row) for i, part in enumerate(parts))
    value = values[path]
    return value[row] if value.dtype.kind in "iu" else value[row, ...]  # of a Box (): an array
