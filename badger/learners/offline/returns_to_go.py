"""Returns-to-go of recorded episodes: the sum of the rewards from each step on.

Shapes: B window, T step of all episodes, N episode.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from badger.datasets import EpisodeDataset

READ_EPISODES = 256  # at once


class ReturnsToGo:
    """The undiscounted sum of the rewards from each recorded step on, its own reward included.

    One number is kept for each step; the data is read once, some episodes at a time.

    Args:
        data: recorded episodes of one agent.
    """

    def __init__(self, data: EpisodeDataset):
        self.first = data.length.cumsum(0) - data.length
        parts = []
        for rows in torch.arange(len(data)).split(READ_EPISODES):
            episodes = data[rows]
            to_go = episodes.reward.flip(1).cumsum(1).flip(1)  # padding is zero
            parts.append(to_go[episodes.valid])
        self.values = torch.cat(parts) if parts else torch.zeros(0)

    def at(self, rows: Int[Tensor, " B"], start: Int[Tensor, " B"]) -> Float[Tensor, " B"]:
        """The return-to-go of some steps.

        Args:
            rows: their episodes.
            start: their numbers in the episode.
        """
        return self.values[self.first[rows] + start]
