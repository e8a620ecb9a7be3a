"""A circular buffer of single steps on the host: observation, action and return.

Shapes: C step in the buffer, B sampled step.
"""

from typing import Any, NamedTuple

import numpy as np
import torch


class Steps(NamedTuple):
    """Some steps.

    Args:
        obs: (B, numbers of an observation).
        action: (B,).
        return_: (B,).
    """

    obs: np.ndarray
    action: np.ndarray
    return_: np.ndarray


class StepReplay:
    """The last steps with their returns, sampled uniformly.

    Args:
        capacity: C, at most.
        as_bytes: observations are whole numbers from 0 to 255, which are kept and returned as bytes.

    Raises:
        ValueError: capacity < 1.
    """

    def __init__(self, capacity: int, as_bytes: bool = False):
        if capacity < 1:
            raise ValueError(f"replay_capacity={capacity}, want room for at least 1 step")
        self.capacity, self.added, self.as_bytes = capacity, 0, as_bytes
        self.parts: list[np.ndarray] = []  # obs, action, return; they grow by doubling

    def __len__(self) -> int:
        return min(self.added, self.capacity)

    def add(self, steps: Steps) -> None:
        """Adds steps, oldest first; they replace the oldest ones.

        Args:
            steps: at most `capacity` of them are kept, the last ones.
        """
        if self.as_bytes:
            steps = steps._replace(obs=steps.obs.astype(np.uint8))
        if not self.parts:
            self.parts = [part[:0] for part in steps]
        index = np.arange(self.added, self.added + len(steps.action))[-self.capacity :]
        self.added += len(steps.action)
        for i, part in enumerate(steps):
            stored, needed = self.parts[i], len(self)
            if len(stored) < needed:
                size = min(self.capacity, max(needed, 2 * len(stored)))
                grown = np.zeros((size, *part.shape[1:]), part.dtype)
                grown[: len(stored)] = stored
                self.parts[i] = grown
            self.parts[i][index % self.capacity] = part[-self.capacity :]

    def sample(self, size: int, rng: torch.Generator) -> Steps:
        """Steps drawn with replacement.

        Args:
            size: B.
            rng: a generator of the CPU.

        Raises:
            ValueError: the buffer is empty.
        """
        if not self.added:
            raise ValueError("the replay buffer is empty, want at least 1 step: call add before sample")
        index = torch.randint(len(self), (size,), generator=rng).numpy()
        return Steps(*(part[index] for part in self.parts))

    def pack(self) -> dict[str, Any]:
        """Plain types and tensors, for a checkpoint."""
        return {"added": self.added, "parts": [torch.from_numpy(part[: len(self)].copy()) for part in self.parts]}

    def unpack(self, packed: dict[str, Any]) -> None:
        """Restores a packed buffer.

        Args:
            packed: the dict of `pack`.

        Raises:
            ValueError: a buffer of more steps than the capacity, or a full one of fewer.
        """
        count = len(packed["parts"][0]) if packed["parts"] else 0
        if count != min(packed["added"], self.capacity):
            raise ValueError(f"replay_capacity={self.capacity}, and {count} steps were saved: load them with that")
        self.added, self.parts = packed["added"], [part.cpu().numpy().copy() for part in packed["parts"]]
