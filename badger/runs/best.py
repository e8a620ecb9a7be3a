"""The figure that decides which checkpoint is best.pt.

It is the mean return of the last 100 training episodes that have ended; or, in a run with `evaluate_every`, that of
held-out episodes (`badger.runs.protocol`).
"""

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

EPISODES = 100
"""Episodes that decide. A run in which fewer have ended has no best checkpoint."""
TRAINING = "mean return of the last training episodes"
EVALUATION = "mean return of held-out episodes"


class BestFigure(NamedTuple):
    """By what a checkpoint was the best. Figures of another kind or number of episodes are not compared.

    Args:
        kind: what was averaged.
        episodes: over how many episodes.
        value: the mean, higher is better.
    """

    kind: str
    episodes: int
    value: float

    def is_better_than(self, other: "BestFigure | None") -> bool:
        """Whether this figure replaces another one: it is higher, or the other one is of another kind.

        Args:
            other: the best figure so far; None: none yet.
        """
        return other is None or self[:2] != other[:2] or self.value > other.value


class RecentReturns:
    """Mean returns of the updates in which the last 100 episodes have ended.

    Args:
        entries: pairs of mean return and number of episodes, oldest first.
    """

    def __init__(self, entries: Iterable[Sequence[float]] = ()):
        self.entries = deque((float(value), float(count)) for value, count in entries)

    def add(self, mean: float, episodes: float) -> None:
        """Adds the episodes of an update.

        Args:
            mean: their mean return.
            episodes: their number; 0: none.
        """
        if episodes > 0:
            self.entries.append((mean, episodes))
        while sum(count for _, count in self.entries) - (self.entries[0][1] if self.entries else 0) >= EPISODES:
            self.entries.popleft()

    def figure(self) -> BestFigure | None:
        """The mean return of the last 100 episodes; None before there are 100.

        Of the oldest update only as many episodes count as are missing, each with their mean.
        """
        missing, total = float(EPISODES), 0.0
        for mean, count in reversed(self.entries):
            taken = min(count, missing)
            total, missing = total + taken * mean, missing - taken
        return None if missing > 0 else BestFigure(TRAINING, EPISODES, total / EPISODES)

    def pack(self) -> list[list[Any]]:
        """Plain types, for a checkpoint."""
        return [list(entry) for entry in self.entries]
