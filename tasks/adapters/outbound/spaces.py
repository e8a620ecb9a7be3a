"""Actions and observations as gymnasium's spaces, and what comes from there as tensors.

Shapes: O observation, A action.
"""

from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from tasks.adapters import optional_imports as installed
from tasks.task import ActionSpace, Continuous, Discrete, MultiDiscrete

Space = Any  # gymnasium.spaces.Space: gymnasium is imported only when a space is made
Mask = np.ndarray | tuple[np.ndarray, ...]


def to_numpy(tensor: Tensor) -> np.ndarray:
    """A copy, which nobody else will write to."""
    return tensor.detach().cpu().numpy().copy()


def to_obs_space(obs: Tensor) -> Space:
    """The space of observations of this shape and dtype: any numbers, for a task does not tell bounds."""
    kind = to_numpy(obs).dtype
    return installed.require_gymnasium().spaces.Box(-np.inf, np.inf, tuple(obs.shape), kind.type)


def to_action_space(action: ActionSpace, dtype: torch.dtype) -> Space:
    spaces = installed.require_gymnasium().spaces
    match action:
        case Discrete(n=n):
            return spaces.Discrete(n)
        case MultiDiscrete(nvec=ns):
            return spaces.MultiDiscrete(ns)
        case Continuous(size=size, low=low, high=high):
            return spaces.Box(low, high, (size,), to_numpy(torch.zeros((), dtype=dtype)).dtype.type)


def to_gym_mask(action: ActionSpace, legal: Bool[Tensor, " A"]) -> Mask:
    """What is legal, as `Space.sample` takes it: 1 or 0 for each choice, a tuple of such where there are several."""
    parts = legal.cpu().split(list(action.nvec) if isinstance(action, MultiDiscrete) else legal.shape[0])
    masks = tuple(part.numpy().astype(np.int8) for part in parts)
    return masks if isinstance(action, MultiDiscrete) else masks[0]


def parse_action(given: Any, action: ActionSpace, dtype: torch.dtype, who: str) -> Tensor:
    """An action from outside, () or (A,), as a tensor.

    Raises:
        ValueError: it is not in the space of such actions.
    """
    array = np.asarray(given)
    match action:
        case Discrete(n=n):
            fits, wanted = _whole(array, np.array(n)), f"an integer from 0 to {n - 1}"
        case MultiDiscrete(nvec=ns):
            fits, wanted = _whole(array, np.array(ns)), f"{len(ns)} integers from 0 to below {list(ns)}"
        case Continuous(size=size, low=low, high=high):
            fits = array.shape == (size,) and array.dtype.kind in "fiu" and bool(np.isfinite(array).all())
            fits = fits and bool((array >= low).all() and (array <= high).all())
            wanted = f"{size} numbers from {low} to {high} that are finite, in an array ({size},)"
    if not fits:
        raise ValueError(f"{who} gave the action {given!r}, want {wanted}")
    return torch.tensor(array).to(dtype if isinstance(action, Continuous) else torch.long)


def _whole(array: np.ndarray, below: np.ndarray) -> bool:
    """Whether these are integers from 0 to below the limits."""
    return array.shape == below.shape and array.dtype.kind in "iu" and bool(((array >= 0) & (array < below)).all())
