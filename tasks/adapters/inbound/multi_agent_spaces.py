"""Observations and actions of several agents with different spaces in one shape.

Shapes: P agent, O components of the longest observation, k choices of an action, A outputs of the largest action.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from tasks.adapters.inbound.as_parallel import WAITING_MASK_KEY
from tasks.adapters.inbound.spaces.actions import ActionCodec, common_bounds, join_spaces
from tasks.adapters.inbound.spaces.observations import ACTION_MASK_KEY, ObservationCodec
from tasks.adapters.inbound.spaces.stacking import check_observation, stack_observations
from tasks.observations import ObsPart
from tasks.task import Continuous

ZERO = np.zeros(1)


class JointObservations:
    """Flat observations of all agents, padded with zeros to one size.

    Args:
        spaces: the observation space of each agent.

    Raises:
        ValueError: a part of a space without a fixed size.
    """

    def __init__(self, spaces: Mapping[str, Any]):
        self.codecs = {name: ObservationCodec(space, f"agent {name!r}") for name, space in spaces.items()}
        self.size = max(codec.size for codec in self.codecs.values())
        self.dtype = np.result_type(np.float32, *(codec.dtype for codec in self.codecs.values()))

    @property
    def parts(self) -> tuple[ObsPart, ...]:
        """The parts of an observation: those of all agents where they are equal, else one vector."""
        first, *others = [codec.parts for codec in self.codecs.values()]
        return first if all(parts == first for parts in others) else (ObsPart("vector", (self.size,)),)

    def flatten(self, name: str, obs: Any) -> np.ndarray:
        """The flat and padded observation (O,) of an agent.

        Raises:
            ValueError: an observation that is not of the agent's space, or not finite.
        """
        codec = self.codecs[name]
        try:
            block = stack_observations(codec.space, [obs])
        except Exception:  # of whatever kind: the observation may be anything
            try:
                check_observation(codec.space, obs)
            except ValueError as error:
                raise ValueError(f"agent {name!r} received {error}") from None
            raise
        flat = codec.encode(block, 1)[0]
        return flat if len(flat) == self.size else np.pad(flat, (0, self.size - len(flat)))

    def mask(self, obs: Any, info: Mapping[str, Any]) -> Any:
        """The action mask of the environment, from the observation or the info; None if there is none."""
        if WAITING_MASK_KEY in info:
            return info[WAITING_MASK_KEY]
        return (
            obs[ACTION_MASK_KEY] if isinstance(obs, Mapping) and ACTION_MASK_KEY in obs else info.get(ACTION_MASK_KEY)
        )


class JointActions:
    """Actions of several agents with different action spaces: choices, real numbers, or both.

    There are the most choices, and the most options, of any agent; `action_mask` masks the options that an agent does
    not have. There are the most real numbers of any agent, of which the others are not used; their bounds are the
    common ones, or -1 and 1 if they differ.

    Args:
        spaces: the action space of each agent.

    Raises:
        ValueError: an unsupported action space.
    """

    def __init__(self, spaces: Mapping[str, Any]):
        self.spaces = dict(spaces)
        self.codecs = {name: ActionCodec(space, f"agent {name!r}") for name, space in spaces.items()}
        codecs = list(self.codecs.values())
        choices = range(max(len(codec.nvec) for codec in codecs))
        self.nvec = tuple(max(_num_options(codec, i) for codec in codecs) for i in choices)
        self.size = max(codec.size for codec in codecs)
        low, high, self.scaled = common_bounds([codec.bounds for codec in codecs if codec.size] or [(ZERO, ZERO)])
        single = all(codec.single for codec in codecs)
        self.action_space = join_spaces(self.nvec, single, Continuous(self.size, low, high))

    def action_mask(self, name: str, mask: Any = None) -> np.ndarray | None:
        """The action mask (A,) of an agent in the shared space; None where no agent has choices.

        Args:
            name: the agent.
            mask: the mask of the environment; None: all options of the agent are allowed. An all-False mask of a choice
                allows all of its options.

        Raises:
            ValueError: a mask of another size.
        """
        if not self.nvec:
            return None
        codec = self.codecs[name]
        allowed = np.ones(sum(codec.nvec), bool) if mask is None else codec.flat_mask(mask)
        parts = np.split(allowed, np.cumsum(codec.nvec)[:-1])[: len(codec.nvec)]
        masks = []
        for i, num_options in enumerate(self.nvec):
            choice_mask = np.zeros(num_options, bool)
            choice_mask[: _num_options(codec, i)] = parts[i] if i < len(parts) else True
            masks.append(choice_mask)
        return np.concatenate(masks)

    def to_env(self, name: str, action: np.ndarray) -> Any:
        """The action in the space of the agent; `action` is (), (k,), (D,) or (k + D,)."""
        codec = self.codecs[name]
        choices, numbers = np.split(action.reshape(1, -1), [len(self.nvec)], 1)
        own = choices[:, : len(codec.nvec)], numbers[:, : codec.size]
        return codec.to_env(np.concatenate(own, 1) if codec.size else own[0], self.scaled)[0]


def _num_options(codec: ActionCodec, choice: int) -> int:
    """The number of options of a choice; 1 of a choice that the agent does not have."""
    return codec.nvec[choice] if choice < len(codec.nvec) else 1
