"""Conversion of observation and action spaces to those of gymnasium, and of actions to tensors.

A `Mixed` space becomes a Tuple of a MultiDiscrete and a Box, and its actions pairs of choices and real numbers.

Shapes: O observation, A action, or options of the action mask.
"""

from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from tasks.adapters import optional_imports as installed
from tasks.task import ActionSpace, Continuous, Discrete, Mixed, MultiDiscrete

Space = Any  # gymnasium.spaces.Space; gymnasium is imported only when a space is constructed
Mask = np.ndarray | tuple[Any, ...]  # of a space with parts a mask, or None, for each of them


def to_numpy(tensor: Tensor) -> np.ndarray:
    """A NumPy copy, which shares no memory with the tensor."""
    return tensor.detach().cpu().numpy().copy()


def to_obs_space(obs: Tensor) -> Space:
    """An unbounded Box with the shape and dtype of the observation."""
    dtype = to_numpy(obs).dtype
    return installed.require_gymnasium().spaces.Box(-np.inf, np.inf, tuple(obs.shape), dtype.type)


def to_action_space(space: ActionSpace, dtype: torch.dtype) -> Space:
    """The action space in gymnasium."""
    spaces = installed.require_gymnasium().spaces
    match space:
        case Discrete(n=n):
            return spaces.Discrete(n)
        case MultiDiscrete(nvec=nvec):
            return spaces.MultiDiscrete(nvec)
        case Continuous(size=size, low=low, high=high):
            return spaces.Box(low, high, (size,), to_numpy(torch.zeros((), dtype=dtype)).dtype.type)
        case Mixed(choices=choices, numbers=numbers):
            return spaces.Tuple((to_action_space(choices, dtype), to_action_space(numbers, dtype)))


def to_gym_mask(space: ActionSpace, mask: Bool[Tensor, " A"]) -> Mask:
    """The action mask in the format of `Space.sample`: int8 for each option, a tuple of these for several choices."""
    match space:
        case Mixed(choices=choices):
            return to_gym_mask(choices, mask), None
        case MultiDiscrete(nvec=nvec):
            return tuple(part.numpy().astype(np.int8) for part in mask.cpu().split(list(nvec)))
    return mask.cpu().numpy().astype(np.int8)


def to_gym_action(space: ActionSpace, action: Tensor) -> Any:
    """An action of the task, () or (A,), as the environment takes it: an array, or a pair of them."""
    if isinstance(space, Mixed):
        return tuple(map(to_numpy, space.split(action)))
    return to_numpy(action)


def parse_action(action: Any, space: ActionSpace, dtype: torch.dtype, agent: str) -> Tensor:
    """A user's action as a tensor, () or (A,).

    Raises:
        ValueError: the action is not in the space.
    """
    parsed = _parse(action, space, dtype)
    if parsed is None:
        raise ValueError(f"{agent} gave the action {action!r}, want {_describe(space)}")
    return parsed


def _parse(action: Any, space: ActionSpace, dtype: torch.dtype) -> Tensor | None:
    """The action as a tensor; None if it is not in the space."""
    if isinstance(space, Mixed):
        if not isinstance(action, tuple | list) or len(action) != 2:
            return None
        choices, numbers = _parse(action[0], space.choices, dtype), _parse(action[1], space.numbers, dtype)
        return None if choices is None or numbers is None else torch.cat([choices.to(dtype), numbers])
    array = _as_array(action)
    match space:
        case Discrete(n=n):
            fits = _integers_below(array, np.array(n))
        case MultiDiscrete(nvec=nvec):
            fits = _integers_below(array, np.array(nvec))
        case Continuous(size=size):
            fits = array.shape == (size,) and _numbers_between(array, space)
    return torch.tensor(array).to(dtype if isinstance(space, Continuous) else torch.long) if fits else None


def _describe(space: ActionSpace) -> str:
    """The actions of a space in words."""
    match space:
        case Discrete(n=n):
            return f"an integer from 0 to {n - 1}"
        case MultiDiscrete(nvec=nvec):
            return f"{len(nvec)} integers from 0 to below {list(nvec)}"
        case Continuous(size=size, low=low, high=high):
            return f"{size} finite numbers from {low} to {high}, in an array ({size},)"
        case Mixed(choices=choices, numbers=numbers):
            return f"a tuple of two: {_describe(choices)}; and {_describe(numbers)}"


def _as_array(action: Any) -> np.ndarray:
    """The action as an array; what has no common shape becomes an object."""
    try:
        return np.asarray(action)
    except ValueError:
        return np.array(None)


def _integers_below(array: np.ndarray, limits: np.ndarray) -> bool:
    """Whether the array has integers from 0 to below the limits."""
    return array.shape == limits.shape and array.dtype.kind in "iu" and bool(((array >= 0) & (array < limits)).all())


def _numbers_between(array: np.ndarray, space: Continuous) -> bool:
    """Whether the array has finite numbers between the bounds, as these are in the array's own precision."""
    if array.dtype.kind not in "fiu" or not np.isfinite(array).all():
        return False
    low, high = np.array([space.low, space.high], array.dtype if array.dtype.kind == "f" else np.float64)
    return bool((array >= low).all() and (array <= high).all())
