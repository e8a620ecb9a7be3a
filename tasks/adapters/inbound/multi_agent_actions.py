"""What the agents of a world do, each as its own space of Gymnasium says, in one shape for all.

Shapes: k choices of an action, A numbers of the largest action.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from tasks.adapters.inbound.spaces import common_bounds, rescale_to_box
from tasks.adapters.optional_imports import require_gymnasium
from tasks.task import ActionSpace, Continuous, Discrete, MultiDiscrete

SUPPORTED = "served are Discrete, MultiDiscrete, MultiBinary and Box of real numbers"


class DiscreteCodec:
    """Actions that are choices: Discrete where all spaces are, else MultiDiscrete. An agent that has fewer choices, or
    fewer of them at once, is told by `action_mask` which are its own."""

    def __init__(self, spaces: Mapping[str, Any]):
        self.spaces = dict(spaces)
        self.each = {name: _numbers(space) for name, space in spaces.items()}
        most = max(len(ns) for ns in self.each.values())
        self.ns = tuple(max(ns[i] if i < len(ns) else 1 for ns in self.each.values()) for i in range(most))
        self.plain = all(isinstance(space, require_gymnasium().spaces.Discrete) for space in spaces.values())
        self.action_space: ActionSpace = Discrete(self.ns[0]) if self.plain else MultiDiscrete(self.ns)

    def action_mask(self, name: str, mask: Any = None) -> np.ndarray:
        """(A,) what an agent may choose. mask: the world's own, one number for each of the agent's choices, in a tuple
        of arrays where there are several; where it allows nothing, everything is as good.

        Raises:
            ValueError: a mask of another size.
        """
        ns = self.each[name]
        allowed = np.ones(sum(ns), bool) if mask is None else _joined(mask)
        if len(allowed) != sum(ns):
            raise ValueError(f"agent {name!r} was told an action_mask of {len(allowed)} numbers, want {sum(ns)}")
        legal, parts = [], np.split(allowed, np.cumsum(ns)[:-1])
        for i, most in enumerate(self.ns):
            own = np.zeros(most, bool)
            own[: ns[i] if i < len(ns) else 1] = parts[i] if i < len(ns) and parts[i].any() else True
            legal.append(own)
        return np.concatenate(legal)

    def to_env(self, name: str, chosen: np.ndarray) -> Any:
        """What the world is given: chosen is a number, or (k,)."""
        space, own = self.spaces[name], chosen.reshape(-1)[: len(self.each[name])]
        if isinstance(space, require_gymnasium().spaces.Discrete):
            return own[0] + space.start
        return (own.reshape(space.shape) + getattr(space, "start", 0)).astype(space.dtype)


class BoxCodec:
    """Actions that are real numbers, as many as the largest has. Between the bounds that all of them have; where these
    differ between -1 and 1, from where they are scaled to each one's own; what lies beyond is cut off."""

    def __init__(self, spaces: Mapping[str, Any]):
        self.spaces = dict(spaces)
        self.sizes = {name: int(np.prod(space.shape)) for name, space in spaces.items()}
        low, high, self.scaled = common_bounds(spaces.values())
        self.action_space: ActionSpace = Continuous(max(self.sizes.values()), low, high)

    def action_mask(self, name: str, mask: Any = None) -> None:
        return None

    def to_env(self, name: str, chosen: np.ndarray) -> np.ndarray:
        """What the world is given; chosen: (A,)."""
        space = self.spaces[name]
        return rescale_to_box(space, chosen[: self.sizes[name]].reshape(space.shape), self.scaled)


def make_action_codec(spaces: Mapping[str, Any]) -> DiscreteCodec | BoxCodec:
    """What the agents do.

    Raises:
        ValueError: an action space that is not served; choices for some agents and real numbers for others.
    """
    kinds = require_gymnasium().spaces
    real = {name: isinstance(space, kinds.Box) for name, space in spaces.items()}
    for name, space in spaces.items():
        integers = real[name] and not np.issubdtype(space.dtype, np.floating)
        if integers or not isinstance(space, kinds.Discrete | kinds.MultiDiscrete | kinds.MultiBinary | kinds.Box):
            raise ValueError(f"agent {name!r} acts in {space}, which cannot be served; {SUPPORTED}")
    if len(set(real.values())) > 1:
        told = ", ".join(f"{name}: {space}" for name, space in spaces.items())
        raise ValueError(f"agents act in {told}, want choices for all of them or real numbers for all of them")
    return BoxCodec(spaces) if any(real.values()) else DiscreteCodec(spaces)


def _numbers(space: Any) -> list[int]:
    """How many there are to choose from, for each choice of a space."""
    kinds = require_gymnasium().spaces
    if isinstance(space, kinds.Discrete):
        return [int(space.n)]
    if isinstance(space, kinds.MultiBinary):
        return [2] * int(np.prod(space.shape))
    return [int(n) for n in space.nvec.reshape(-1)]


def _joined(mask: Any) -> np.ndarray:
    parts = mask if isinstance(mask, tuple) else (mask,)
    return np.concatenate([np.asarray(part).reshape(-1) for part in parts]).astype(bool)
