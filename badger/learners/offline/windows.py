"""Windows of recorded episodes, drawn at random.

Shapes: N episode of the data, B window, T step.
"""

from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from badger.datasets import EpisodeDataset, Episodes


class Windows(NamedTuple):
    """Windows of recorded episodes, on the host.

    Args:
        episodes: the steps, episode first; where an episode ends earlier, padding.
        rows: which episode of the data each is of.
        start: its first step there.
    """

    episodes: Episodes
    rows: Int[Tensor, " B"]
    start: Int[Tensor, " B"]


class WindowSampler:
    """Draws windows, such that each step of the data is the first one of a window equally often; or whole episodes.

    Args:
        data: recorded episodes.
        rows: the episodes to draw from; None: all.
        steps: T of a window; None: whole episodes, each equally often, padded to the longest that is drawn.

    Raises:
        ValueError: there is no episode.
    """

    def __init__(self, data: EpisodeDataset, rows: Int[Tensor, " N"] | None = None, steps: int | None = None):
        self.data, self.steps = data, steps
        self.rows = torch.arange(len(data)) if rows is None else rows
        self.rows = self.rows[data.length[self.rows] > 0]
        if not len(self.rows):
            raise ValueError("data has no episode with a step, want at least one")
        self.last = data.length[self.rows].cumsum(0)  # one more than the number of each episode's last step

    def draw(self, batch: int, rng: torch.Generator) -> Windows:
        """Random windows.

        Args:
            batch: their number B.
            rng: the generator, on the CPU.
        """
        if self.steps is None:
            rows = self.rows[torch.randint(len(self.rows), (batch,), generator=rng)]
            return Windows(self.data[rows], rows, torch.zeros_like(rows))
        drawn = torch.randint(int(self.last[-1]), (batch,), generator=rng)
        place = torch.searchsorted(self.last, drawn, right=True)
        rows = self.rows[place]
        start = drawn - self.last[place] + self.data.length[rows]
        return Windows(self.data.windows(rows, start, self.steps), rows, start)


def best_rows(data: EpisodeDataset, percent: float) -> Int[Tensor, " best"]:
    """The episodes with the highest returns, the earlier of equal ones first; at least one.

    Args:
        data: recorded episodes; with several agents, the mean of their returns counts.
        percent: how many of the episodes, above 0 and at most 100.

    Raises:
        ValueError: another percentage.
    """
    if not 0 < percent <= 100:
        raise ValueError(f"percent={percent}, want above 0 and at most 100")
    returns = data.returns.reshape(len(data), -1).mean(1)
    count = max(1, round(len(returns) * percent / 100))
    return returns.argsort(descending=True, stable=True)[:count].sort().values
