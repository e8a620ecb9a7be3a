"""What the agents of a world see, each as its own space of Gymnasium says, in one shape for all.

Shapes: O numbers of the longest observation.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from tasks.adapters.optional_imports import require_gymnasium

ACTION_MASK_KEY = (
    "action_mask"  # by PettingZoo's convention, in an observation that is a dictionary, or in an agent's info
)


class ObservationCodec:
    """Observations, flattened as `gymnasium.spaces.flatten` does, and filled up with 0. A part of a dictionary that is
    called `action_mask` is no part of what is seen.

    Raises:
        ValueError: a space of no fixed size.
    """

    def __init__(self, spaces: Mapping[str, Any]):
        kinds = require_gymnasium().spaces
        self.spaces = {name: self._seen(space) for name, space in spaces.items()}
        for name, space in self.spaces.items():
            if not space.is_np_flattenable:
                raise ValueError(
                    f"agent {name!r} observes {space}, which has no fixed size; served is what "
                    "gymnasium.spaces.flatten makes an array of: wrap the world so that it tells that"
                )
        flat = [kinds.flatten_space(space) for space in self.spaces.values()]
        self.size = max(space.shape[0] for space in flat)
        self.dtype = np.result_type(np.float32, *(space.dtype for space in flat))

    def flatten(self, name: str, obs: Any) -> np.ndarray:
        """(O,). Raises ValueError for what is not of the agent's space: another shape, or no finite number."""
        space, seen = self.spaces[name], np.zeros(self.size, self.dtype)
        told = require_gymnasium().spaces.flatten(space, obs)
        if len(told) != require_gymnasium().spaces.flatdim(space):
            raise ValueError(f"agent {name!r} was told {len(told)} numbers, want those of {space}")
        if not np.isfinite(told).all():
            raise ValueError(f"agent {name!r} was told {told[~np.isfinite(told)][0]}, want finite numbers: {told}")
        seen[: len(told)] = told
        return seen

    def mask(self, obs: Any, info: Mapping[str, Any]) -> Any:
        """The world's own mask of what is legal; None where it tells none."""
        return (
            obs[ACTION_MASK_KEY] if isinstance(obs, Mapping) and ACTION_MASK_KEY in obs else info.get(ACTION_MASK_KEY)
        )

    def _seen(self, space: Any) -> Any:
        dictionary = require_gymnasium().spaces.Dict
        if not isinstance(space, dictionary) or ACTION_MASK_KEY not in space.spaces:
            return space
        return dictionary({key: part for key, part in space.spaces.items() if key != ACTION_MASK_KEY})
