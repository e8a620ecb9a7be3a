"""Conversion of spaces of Gymnasium: flat observation sizes, action spaces, and actions of a batch."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from tasks.adapters.optional_imports import require_gymnasium
from tasks.task import ActionSpace, Continuous, Discrete, MultiDiscrete


class ActionAdapter(NamedTuple):
    """Conversion of actions for an environment.

    Args:
        space: the action space of the agent.
        to_env: converts actions of a batch to the vectorized action space.
    """

    space: ActionSpace
    to_env: Callable[[Tensor], np.ndarray]


def flat_size(space: Any, env_name: str) -> int:
    """The size of an observation flattened by `gymnasium.spaces.flatten`; discrete values are one-hot.

    Raises:
        ValueError: a space without a fixed size.
    """
    spaces = require_gymnasium().spaces
    flat = spaces.flatten_space(space) if space.is_np_flattenable else space
    if not isinstance(flat, spaces.Box):
        raise ValueError(
            f"{env_name} has the observation space {space}, want Box, Discrete, MultiDiscrete, MultiBinary, or a Dict "
            "or Tuple of these; wrap it in gymnasium.wrappers.TransformObservation"
        )
    return int(np.prod(flat.shape))


def numeric_mask(space: Any) -> tuple[bool, ...]:
    """Which numbers of a flattened observation are measurements, and neither one-hot, binary, nor bytes of an image."""
    spaces = require_gymnasium().spaces
    if isinstance(space, spaces.Dict | spaces.Tuple):
        parts = space.spaces.values() if isinstance(space, spaces.Dict) else space.spaces
        return tuple(numeric for part in parts for numeric in numeric_mask(part))
    measured = isinstance(space, spaces.Box) and space.dtype != np.uint8
    return (measured,) * int(spaces.flatdim(space))


def make_action_adapter(space: Any, env_name: str) -> ActionAdapter:
    """The action space of an agent for a space of Gymnasium, with the conversion of its actions.

    A MultiBinary space becomes choices between two options. A Box becomes Continuous, with its bounds, or, if they
    differ between components, with -1 and 1, which are rescaled. Values beyond the bounds are clipped.

    Raises:
        ValueError: another space.
    """
    spaces = require_gymnasium().spaces
    if isinstance(space, spaces.Discrete):
        first = int(space.start)
        return ActionAdapter(Discrete(int(space.n)), lambda action: _integers(action, (), env_name) + first)
    if isinstance(space, spaces.MultiDiscrete):
        first = space.start
        choices = MultiDiscrete(tuple(int(n) for n in space.nvec.ravel()))
        return ActionAdapter(choices, lambda action: _integers(action, space.shape, env_name) + first)
    if isinstance(space, spaces.MultiBinary):
        choices = MultiDiscrete((2,) * int(np.prod(space.shape)))
        return ActionAdapter(choices, lambda action: _integers(action, space.shape, env_name))
    if isinstance(space, spaces.Box) and space.dtype.kind == "f":
        return _box_adapter(space)
    raise ValueError(
        f"{env_name} has the action space {space}, want Discrete, MultiDiscrete, MultiBinary, or a Box of real numbers"
        "; wrap it in gymnasium.wrappers.TransformAction"
    )


def _box_adapter(box: Any) -> ActionAdapter:
    low, high, scaled = common_bounds([box])

    def to_env(action: Tensor) -> np.ndarray:
        return rescale_to_box(box, action.detach().cpu().double().numpy().reshape(-1, *box.shape), scaled)

    return ActionAdapter(Continuous(int(np.prod(box.shape)), low, high), to_env)


def common_bounds(boxes: Iterable[Any]) -> tuple[float, float, bool]:
    """Lower bound, upper bound, and whether actions are rescaled.

    The bounds are the common ones of all components; if they differ and are finite, -1 and 1 with rescaling.
    """
    lows, highs = (np.concatenate(ends) for ends in zip(*((b.low.ravel(), b.high.ravel()) for b in boxes), strict=True))
    equal = (lows == lows[0]).all() and (highs == highs[0]).all()
    if not equal and np.isfinite(lows).all() and np.isfinite(highs).all():
        return -1.0, 1.0, True
    return float(lows.min()), float(highs.max()), False


def rescale_to_box(box: Any, action: np.ndarray, scaled: bool) -> np.ndarray:
    """Actions (..., shape of the box), rescaled from -1 and 1 if `scaled`, and clipped to the bounds of the box."""
    rescaled = box.low + (action + 1) / 2 * (box.high.astype(float) - box.low) if scaled else action
    return np.clip(rescaled, box.low, box.high).astype(box.dtype)


def _integers(action: Tensor, shape: tuple[int, ...], env_name: str) -> np.ndarray:
    """Checks discrete actions (B,) or (B, k) and converts them to NumPy in the shape of the space."""
    dims = 2 if shape else 1
    if action.is_floating_point() or action.dim() != dims:
        want = "(batch, choices)" if shape else "(batch,)"
        raise ValueError(
            f"actions {tuple(action.shape)} of {action.dtype}, want integers {want}: {env_name} gives no gradient to "
            "logits; roll out with a policy that samples actions from them"
        )
    return action.cpu().numpy().reshape(-1, *shape)
