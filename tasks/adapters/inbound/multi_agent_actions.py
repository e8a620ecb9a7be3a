"""Conversion of the actions of several agents with different action spaces to one shape.

Shapes: k choices of an action, A outputs of the largest action.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from tasks.adapters.inbound.spaces import common_bounds, rescale_to_box
from tasks.adapters.optional_imports import require_gymnasium
from tasks.task import ActionSpace, Continuous, Discrete, MultiDiscrete

SUPPORTED = "want Discrete, MultiDiscrete, MultiBinary, or a Box of real numbers"


class DiscreteCodec:
    """Discrete actions of several agents: Discrete if all spaces are, otherwise MultiDiscrete.

    The shared space has the most choices, and the most options, of any agent; `action_mask` masks the options that an
    agent does not have.
    """

    def __init__(self, spaces: Mapping[str, Any]):
        self.spaces = dict(spaces)
        self.agent_nvec = {name: _num_options(space) for name, space in spaces.items()}
        num_choices = max(len(nvec) for nvec in self.agent_nvec.values())
        self.nvec = tuple(
            max(nvec[i] if i < len(nvec) else 1 for nvec in self.agent_nvec.values()) for i in range(num_choices)
        )
        self.all_discrete = all(isinstance(space, require_gymnasium().spaces.Discrete) for space in spaces.values())
        self.action_space: ActionSpace = Discrete(self.nvec[0]) if self.all_discrete else MultiDiscrete(self.nvec)

    def action_mask(self, name: str, mask: Any = None) -> np.ndarray:
        """The action mask (A,) of an agent in the shared space.

        Args:
            name: the agent.
            mask: the mask of the environment, one value per option, in a tuple of arrays for several choices. An all-
                False mask of a choice allows all of its options.

        Raises:
            ValueError: a mask of another size.
        """
        nvec = self.agent_nvec[name]
        allowed = np.ones(sum(nvec), bool) if mask is None else _concatenate(mask)
        if len(allowed) != sum(nvec):
            raise ValueError(f"agent {name!r} received an action_mask of {len(allowed)} values, want {sum(nvec)}")
        masks, parts = [], np.split(allowed, np.cumsum(nvec)[:-1])
        for i, num_options in enumerate(self.nvec):
            choice_mask = np.zeros(num_options, bool)
            choice_mask[: nvec[i] if i < len(nvec) else 1] = parts[i] if i < len(nvec) and parts[i].any() else True
            masks.append(choice_mask)
        return np.concatenate(masks)

    def to_env(self, name: str, action: np.ndarray) -> Any:
        """The action in the space of the agent; `action` is () or (k,)."""
        space, choices = self.spaces[name], action.reshape(-1)[: len(self.agent_nvec[name])]
        if isinstance(space, require_gymnasium().spaces.Discrete):
            return choices[0] + space.start
        return (choices.reshape(space.shape) + getattr(space, "start", 0)).astype(space.dtype)


class BoxCodec:
    """Continuous actions of several agents, with the size of the largest.

    Bounds are the common ones, or -1 and 1 if they differ; these are rescaled to the bounds of each agent. Values
    beyond the bounds are clipped.
    """

    def __init__(self, spaces: Mapping[str, Any]):
        self.spaces = dict(spaces)
        self.sizes = {name: int(np.prod(space.shape)) for name, space in spaces.items()}
        low, high, self.scaled = common_bounds(spaces.values())
        self.action_space: ActionSpace = Continuous(max(self.sizes.values()), low, high)

    def action_mask(self, name: str, mask: Any = None) -> None:
        """None, as continuous actions have no mask."""
        return None

    def to_env(self, name: str, action: np.ndarray) -> np.ndarray:
        """The action in the space of the agent; `action` is (A,)."""
        space = self.spaces[name]
        return rescale_to_box(space, action[: self.sizes[name]].reshape(space.shape), self.scaled)


def make_action_codec(spaces: Mapping[str, Any]) -> DiscreteCodec | BoxCodec:
    """The codec for the action spaces of all agents.

    Raises:
        ValueError: an unsupported action space, or a mixture of discrete and continuous spaces.
    """
    kinds = require_gymnasium().spaces
    is_box = {name: isinstance(space, kinds.Box) for name, space in spaces.items()}
    for name, space in spaces.items():
        integers = is_box[name] and not np.issubdtype(space.dtype, np.floating)
        if integers or not isinstance(space, kinds.Discrete | kinds.MultiDiscrete | kinds.MultiBinary | kinds.Box):
            raise ValueError(f"agent {name!r} has the action space {space}, {SUPPORTED}")
    if len(set(is_box.values())) > 1:
        described = ", ".join(f"{name}: {space}" for name, space in spaces.items())
        raise ValueError(f"agents have the action spaces {described}, want all discrete or all continuous")
    return BoxCodec(spaces) if any(is_box.values()) else DiscreteCodec(spaces)


def _num_options(space: Any) -> list[int]:
    """The number of options of each choice of a discrete space."""
    kinds = require_gymnasium().spaces
    if isinstance(space, kinds.Discrete):
        return [int(space.n)]
    if isinstance(space, kinds.MultiBinary):
        return [2] * int(np.prod(space.shape))
    return [int(n) for n in space.nvec.reshape(-1)]


def _concatenate(mask: Any) -> np.ndarray:
    parts = mask if isinstance(mask, tuple) else (mask,)
    return np.concatenate([np.asarray(part).reshape(-1) for part in parts]).astype(bool)
