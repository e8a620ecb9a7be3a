"""Returns-to-go of recorded episodes: the sum of the rewards from each step on.

Shapes: B window, T step of all episodes, N episode.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from badger.datasets import EpisodeDataset

READ_EPISODES = 256  # at once


class ReturnsToGo:
    """The sum of the rewards from each recorded step on, its own reward included.

    One number is kept for each step; the data is read once, some episodes at a time.

    Args:
        data: recorded episodes of one agent.
        discount: of a reward, for each step that it is later.
    """

    def __init__(self, data: EpisodeDataset, discount: float = 1.0):
        self.length = data.length
        self.first = data.length.cumsum(0) - data.length
        parts = []
        for rows in torch.arange(len(data)).split(READ_EPISODES):
            episodes = data[rows]
            to_go = discounted_sums(episodes.reward, discount)  # padding is zero
            parts.append(to_go[episodes.valid])
        self.values = torch.cat(parts) if parts else torch.zeros(0)

    def at(self, rows: Int[Tensor, " B"], start: Int[Tensor, " B"]) -> Float[Tensor, " B"]:
        """The return-to-go of some steps.

        Args:
            rows: their episodes.
            start: their numbers in the episode.
        """
        return self.values[self.first[rows] + start]

    def window(self, rows: Int[Tensor, " B"], start: Int[Tensor, " B"], steps: int) -> Float[Tensor, "B T"]:
        """The returns-to-go of neighboring steps, 0 after the end of an episode.

        Args:
            rows: their episodes.
            start: the numbers of the first of them.
            steps: how many.
        """
        number = start.unsqueeze(-1) + torch.arange(steps)
        index = (self.first[rows].unsqueeze(-1) + number).clamp(max=len(self.values) - 1)
        return torch.where(number < self.length[rows].unsqueeze(-1), self.values[index], 0)


def discounted_sums(reward: Float[Tensor, "B T"], discount: float) -> Float[Tensor, "B T"]:
    """The discounted sums of the rewards from each step on.

    Args:
        reward: of each step.
        discount: of a reward, for each step that it is later.
    """
    if discount == 1:
        return reward.flip(1).cumsum(1).flip(1)
    sums = [reward.new_zeros(len(reward))]
    for now in reward.flip(1).unbind(1):
        sums.append(now + discount * sums[-1])
    return torch.stack(sums[:0:-1], 1) if reward.shape[1] else reward
