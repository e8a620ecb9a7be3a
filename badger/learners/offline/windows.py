"""Windows of recorded episodes, drawn at random.

Shapes: N episode of the data, B window, T step, G numbers of a goal.
"""

from typing import NamedTuple, Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor

from badger.datasets import EpisodeDataset, Episodes
from badger.datasets.checks import check_windows


class Windows(NamedTuple):
    """Windows of recorded episodes, on the host.

    Args:
        episodes: the steps, episode first; where an episode ends earlier, padding.
        rows: which episode of the data each is of.
        start: its first step there.
        goal: the later state that each leads to, of the numbers that a goal names; None: windows have no goals.
        until: how many steps after the start it is reached.
    """

    episodes: Episodes
    rows: Int[Tensor, " B"]
    start: Int[Tensor, " B"]
    goal: Float[Tensor, "B G"] | None = None
    until: Int[Tensor, " B"] | None = None


class Sampler(Protocol):
    """What draws the windows of an outer step."""

    def draw(self, batch: int, rng: torch.Generator) -> Windows:
        """Random windows.

        Args:
            batch: their number B.
            rng: the generator, on the CPU.
        """


class WindowSampler:
    """Draws windows, such that each step of the data is the first one of a window equally often; or whole episodes.

    Args:
        data: recorded episodes.
        rows: the episodes to draw from; None: all.
        steps: T of a window, at most the longest episode; None: whole episodes, each equally often, padded to the
            longest that is drawn.
        weights: how often each episode of the data is drawn, relative to the others; None: equally often.

    Raises:
        ValueError: there is no episode.
    """

    def __init__(
        self,
        data: EpisodeDataset,
        rows: Int[Tensor, " best"] | None = None,
        steps: int | None = None,
        weights: Float[Tensor, " N"] | None = None,
    ):
        self.data = data
        self.rows = torch.arange(len(data)) if rows is None else rows
        self.rows = self.rows[data.length[self.rows] > 0]
        if not len(self.rows):
            raise ValueError("data has no episode with a step, want at least one")
        self.length = data.length[self.rows]
        self.steps = None if steps is None else min(steps, int(self.length.max()))
        self.weight = torch.ones(len(self.rows)).double() if weights is None else weights[self.rows].double()
        self.mass = (self.weight * (1 if steps is None else self.length)).cumsum(0)

    def draw(self, batch: int, rng: torch.Generator) -> Windows:
        """Random windows.

        Args:
            batch: their number B.
            rng: the generator, on the CPU.

        Raises:
            DamagedFile: names the first episode and step of them that `EpisodeDataset.check` would refuse.
        """
        return self.read(*self.draw_starts(batch, rng))

    def draw_starts(self, batch: int, rng: torch.Generator) -> tuple[Int[Tensor, " B"], Int[Tensor, " B"]]:
        """The episodes and first steps of random windows.

        Args:
            batch: their number B.
            rng: the generator, on the CPU.
        """
        drawn = torch.rand(batch, generator=rng, dtype=torch.float64) * self.mass[-1]
        place = torch.searchsorted(self.mass, drawn, right=True).clamp(max=len(self.rows) - 1)
        rows = self.rows[place]
        if self.steps is None:
            return rows, torch.zeros_like(rows)
        from_end = ((self.mass[place] - drawn) / self.weight[place]).long()
        return rows, self.length[place] - 1 - from_end.clamp(max=self.length[place] - 1)

    def read(self, rows: Int[Tensor, " B"], start: Int[Tensor, " B"]) -> Windows:
        """The windows that begin there.

        Args:
            rows: their episodes.
            start: their first steps.

        Raises:
            DamagedFile: as in `draw`.
        """
        steps = int(self.data.length[rows].max()) if self.steps is None else self.steps
        episodes = self.data.windows(rows, start, steps)
        check_windows(self.data.source, self.data.action_space, episodes, rows, start)
        return Windows(episodes, rows, start)


def balanced_weights(returns: Float[Tensor, " N"], bins: int) -> Float[Tensor, " N"]:
    """Weights with which each range of returns is drawn equally often, where there is any episode with such a return.

    Args:
        returns: of all episodes.
        bins: number of ranges, of equal width, between the lowest and the highest return.
    """
    low, high = returns.min(), returns.max()
    scale = bins / (high - low).clamp(min=torch.finfo(returns.dtype).tiny)
    number = ((returns - low) * scale).long().clamp(0, bins - 1)
    return 1 / number.bincount(minlength=bins)[number]


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
