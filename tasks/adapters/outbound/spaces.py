"""Conversion of observation and action spaces to those of gymnasium, and of actions to tensors.

Shapes: O observation, A action.
"""

from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from tasks.adapters import optional_imports as installed
from tasks.task import ActionSpace, Continuous, Discrete, MultiDiscrete

Space = Any  # gymnasium.spaces.Space; gymnasium is imported only when a space is constructed
Mask = np.ndarray | tuple[np.ndarray, ...]


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
    raise ValueError(f"actions are {space}, want one of Discrete, MultiDiscrete and Continuous, without a mixture")


def to_gym_mask(space: ActionSpace, mask: Bool[Tensor, " A"]) -> Mask:
    """The action mask in the format of `Space.sample`: int8 for each option, a tuple of these for several choices."""
    parts = mask.cpu().split(list(space.nvec) if isinstance(space, MultiDiscrete) else mask.shape[0])
    masks = tuple(part.numpy().astype(np.int8) for part in parts)
    return masks if isinstance(space, MultiDiscrete) else masks[0]


def parse_action(action: Any, space: ActionSpace, dtype: torch.dtype, agent: str) -> Tensor:
    """A user's action, () or (A,), as a tensor.

    Raises:
        ValueError: the action is not in the space.
    """
    array = np.asarray(action)
    match space:
        case Discrete(n=n):
            fits, want = _integers_below(array, np.array(n)), f"an integer from 0 to {n - 1}"
        case MultiDiscrete(nvec=nvec):
            fits, want = _integers_below(array, np.array(nvec)), f"{len(nvec)} integers from 0 to below {list(nvec)}"
        case Continuous(size=size, low=low, high=high):
            fits = array.shape == (size,) and array.dtype.kind in "fiu" and bool(np.isfinite(array).all())
            fits = fits and bool((array >= low).all() and (array <= high).all())
            want = f"{size} finite numbers from {low} to {high}, in an array ({size},)"
    if not fits:
        raise ValueError(f"{agent} gave the action {action!r}, want {want}")
    return torch.tensor(array).to(dtype if isinstance(space, Continuous) else torch.long)


def _integers_below(array: np.ndarray, limits: np.ndarray) -> bool:
    """Whether the array has integers from 0 to below the limits."""
    return array.shape == limits.shape and array.dtype.kind in "iu" and bool(((array >= 0) & (array < limits)).all())
