"""Observations and actions of several agents with different spaces in one shape.

Shapes: P agent, n some of them, O components of the longest observation, k choices of an action, A outputs of the
largest action.
"""

import math
from collections.abc import Callable, Mapping, Sequence
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
        self.groups = _first_with_equal(self.codecs, lambda one, other: one.space == other.space)
        self.size = max(codec.size for codec in self.codecs.values())
        self.dtype = np.result_type(np.float32, *(codec.dtype for codec in self.codecs.values()))

    @property
    def parts(self) -> tuple[ObsPart, ...]:
        """The parts of an observation: those of all agents where they are equal, else one vector."""
        first, *others = [codec.parts for codec in self.codecs.values()]
        return first if all(parts == first for parts in others) else (ObsPart("vector", (self.size,)),)

    def encode(self, obs: Mapping[str, Any]) -> np.ndarray:
        """The flat and padded observations (n, O) of n agents. Those of equal spaces are checked and encoded together.

        Args:
            obs: by agent.

        Raises:
            ValueError: an observation that is not of the agent's space, or not finite.
        """
        flat, names = np.zeros((len(obs), self.size), self.dtype), list(obs)
        for space_of, rows in _groups(names, self.groups).items():
            codec = self.codecs[space_of]
            try:
                block = stack_observations(codec.space, [obs[names[row]] for row in rows])
            except Exception:  # of whatever kind: the observation may be anything
                for row in rows:
                    self._check(names[row], obs[names[row]])
                raise
            flat[rows, : codec.size] = codec.encode(block, len(rows))
        return flat

    def _check(self, name: str, obs: Any) -> None:
        try:
            check_observation(self.codecs[name].space, obs)
        except ValueError as error:
            raise ValueError(f"agent {name!r} received {error}") from None

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
        self.groups = _first_with_equal(self.codecs, _same_actions)
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

    def to_env(self, names: Sequence[str], action: np.ndarray) -> dict[str, Any]:
        """The actions of n agents, each in its space. Those of equal spaces are converted together.

        Args:
            names: of the agents.
            action: (n,), (n, k), (n, D) or (n, k + D).
        """
        flat, converted = action.reshape(len(names), math.prod(action.shape[1:])), dict[str, Any]()
        choices, numbers = np.split(flat, [len(self.nvec)], 1)
        for space_of, rows in _groups(names, self.groups).items():
            codec = self.codecs[space_of]
            own = choices[rows, : len(codec.nvec)], numbers[rows, : codec.size]
            actions = codec.to_env(np.concatenate(own, 1) if codec.size else own[0], self.scaled)
            converted.update(zip((names[row] for row in rows), actions, strict=True))
        return {name: converted[name] for name in names}


def _first_with_equal(codecs: Mapping[str, Any], equal: Callable[[Any, Any], bool]) -> dict[str, str]:
    """For each agent the first one with an equal space."""
    return {name: next(other for other in codecs if equal(codecs[other], codec)) for name, codec in codecs.items()}


def _same_actions(one: ActionCodec, other: ActionCodec) -> bool:
    """Whether actions are converted equally; `Box.__eq__` compares bounds only roughly."""
    bounds = zip(one.bounds, other.bounds, strict=True) if one.size and other.size else ()
    return bool(one.space == other.space) and all(np.array_equal(end, same) for end, same in bounds)


def _groups(names: Sequence[str], first: Mapping[str, str]) -> dict[str, list[int]]:
    """The indices of the names by the first agent with an equal space."""
    groups: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        groups.setdefault(first[name], []).append(index)
    return groups


def _num_options(codec: ActionCodec, choice: int) -> int:
    """The number of options of a choice; 1 of a choice that the agent does not have."""
    return codec.nvec[choice] if choice < len(codec.nvec) else 1
