"""Conversion of the observations of several agents with different observation spaces to one shape.

Shapes: O components of the longest flattened observation.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from tasks.adapters.optional_imports import require_gymnasium

ACTION_MASK_KEY = "action_mask"  # PettingZoo's convention: in a dict observation, or in the info of an agent


class ObservationCodec:
    """Flattens the observations of all agents by `gymnasium.spaces.flatten` and pads them with zeros to one size.

    The key `action_mask` of a dict observation is left out.

    Args:
        spaces: the observation space of each agent.

    Raises:
        ValueError: a space without a fixed size.
    """

    def __init__(self, spaces: Mapping[str, Any]):
        kinds = require_gymnasium().spaces
        self.spaces = {name: self._without_mask(space) for name, space in spaces.items()}
        for name, space in self.spaces.items():
            if not space.is_np_flattenable:
                raise ValueError(
                    f"agent {name!r} has the observation space {space}, want one that gymnasium.spaces.flatten "
                    "converts to an array; wrap the environment to change its observations"
                )
        flat = [kinds.flatten_space(space) for space in self.spaces.values()]
        self.size = max(space.shape[0] for space in flat)
        self.dtype = np.result_type(np.float32, *(space.dtype for space in flat))

    def flatten(self, name: str, obs: Any) -> np.ndarray:
        """The flattened and padded observation (O,) of an agent.

        Raises:
            ValueError: another shape than that of the agent's space, or a value that is not finite.
        """
        space, padded = self.spaces[name], np.zeros(self.size, self.dtype)
        flat = require_gymnasium().spaces.flatten(space, obs)
        if len(flat) != require_gymnasium().spaces.flatdim(space):
            raise ValueError(f"agent {name!r} received an observation of {len(flat)} numbers, want those of {space}")
        if not np.isfinite(flat).all():
            raise ValueError(f"agent {name!r} received {flat[~np.isfinite(flat)][0]}, want finite numbers: {flat}")
        padded[: len(flat)] = flat
        return padded

    def mask(self, obs: Any, info: Mapping[str, Any]) -> Any:
        """The action mask of the environment, from the observation or the info; None if there is none."""
        return (
            obs[ACTION_MASK_KEY] if isinstance(obs, Mapping) and ACTION_MASK_KEY in obs else info.get(ACTION_MASK_KEY)
        )

    def _without_mask(self, space: Any) -> Any:
        dictionary = require_gymnasium().spaces.Dict
        if not isinstance(space, dictionary) or ACTION_MASK_KEY not in space.spaces:
            return space
        return dictionary({key: part for key, part in space.spaces.items() if key != ACTION_MASK_KEY})
