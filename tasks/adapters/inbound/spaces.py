"""Spaces of Gymnasium, as an agent has them: observations are flat, actions are choices or real numbers."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from tasks.adapters.optional_imports import require_gymnasium
from tasks.task import ActionSpace, Continuous, Discrete, MultiDiscrete


class ActionAdapter(NamedTuple):
    """action: as an agent has it. to_env: actions of a batch, as the vectorised action space has them."""

    space: ActionSpace
    to_env: Callable[[Tensor], np.ndarray]


def flat_size(space: Any, whose: str) -> int:
    """Numbers in an observation that `gymnasium.spaces.flatten` has made flat: of a choice one for each option.

    Raises:
        ValueError: a space whose observations have no fixed number of parts.
    """
    spaces = require_gymnasium().spaces
    flat = spaces.flatten_space(space) if space.is_np_flattenable else space
    if not isinstance(flat, spaces.Box):
        raise ValueError(
            f"{whose} has the observation space {space}, want Box, Discrete, MultiDiscrete, MultiBinary, or a Dict or "
            "Tuple of these; wrap it in gymnasium.wrappers.TransformObservation"
        )
    return int(np.prod(flat.shape))


def make_action_adapter(space: Any, whose: str) -> ActionAdapter:
    """Choices stay choices (a MultiBinary is several of two), and a Box is real numbers: between its bounds, or, where
    each number has bounds of its own, between -1 and 1, from where they are scaled. What lies beyond is clipped.

    Raises:
        ValueError: any other space.
    """
    spaces = require_gymnasium().spaces
    if isinstance(space, spaces.Discrete):
        first = int(space.start)
        return ActionAdapter(Discrete(int(space.n)), lambda action: _integers(action, (), whose) + first)
    if isinstance(space, spaces.MultiDiscrete):
        first = space.start
        choices = MultiDiscrete(tuple(int(n) for n in space.nvec.ravel()))
        return ActionAdapter(choices, lambda action: _integers(action, space.shape, whose) + first)
    if isinstance(space, spaces.MultiBinary):
        choices = MultiDiscrete((2,) * int(np.prod(space.shape)))
        return ActionAdapter(choices, lambda action: _integers(action, space.shape, whose))
    if isinstance(space, spaces.Box) and space.dtype.kind == "f":
        return _real(space)
    raise ValueError(
        f"{whose} has the action space {space}, want Discrete, MultiDiscrete, MultiBinary, or a Box of real numbers; "
        "wrap it in gymnasium.wrappers.TransformAction"
    )


def _real(box: Any) -> ActionAdapter:
    low, high, scaled = common_bounds([box])

    def outside(action: Tensor) -> np.ndarray:
        return rescale_to_box(box, action.detach().cpu().double().numpy().reshape(-1, *box.shape), scaled)

    return ActionAdapter(Continuous(int(np.prod(box.shape)), low, high), outside)


def common_bounds(boxes: Iterable[Any]) -> tuple[float, float, bool]:
    """Between what bounds an agent gives its real numbers: those that all have; -1 and 1 where these differ and are
    finite, from where they are scaled (True)."""
    lows, highs = (np.concatenate(ends) for ends in zip(*((b.low.ravel(), b.high.ravel()) for b in boxes), strict=True))
    alike = (lows == lows[0]).all() and (highs == highs[0]).all()
    if not alike and np.isfinite(lows).all() and np.isfinite(highs).all():
        return -1.0, 1.0, True
    return float(lows.min()), float(highs.max()), False


def rescale_to_box(box: Any, given: np.ndarray, scaled: bool) -> np.ndarray:
    """(..., shape of the box) as the box has it; what lies beyond is cut off."""
    own = box.low + (given + 1) / 2 * (box.high.astype(float) - box.low) if scaled else given
    return np.clip(own, box.low, box.high).astype(box.dtype)


def _integers(action: Tensor, shape: tuple[int, ...], whose: str) -> np.ndarray:
    """(B,) or (B, k) choices, in the shape that the world wants."""
    dims = 2 if shape else 1
    if action.is_floating_point() or action.dim() != dims:
        wanted = "(batch, choices)" if shape else "(batch,)"
        raise ValueError(
            f"actions {tuple(action.shape)} of {action.dtype}, want integers {wanted}: {whose} gives no gradient to "
            "logits; roll out with a policy that draws a choice from them"
        )
    return action.cpu().numpy().reshape(-1, *shape)
