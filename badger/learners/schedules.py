"""Learning rates as pure functions of the outer step, and chances to explore as those of steps in the world."""

from collections.abc import Callable
from dataclasses import dataclass
from math import cos, pi

LearningRate = float | Callable[[int], float]  # the same throughout, or one for each outer step
EpsilonSchedule = Callable[[int, int], list[float]]  # (steps made in the world, rows) -> epsilon of each row


@dataclass(frozen=True)
class WarmupCosine:
    """Linear warm-up to `peak`, then a half cosine down to `final` x peak at outer step `total`, and flat from there.

    Without `total` the rate stays at its peak after `warmup` steps. (Smith and Topin 2019, "one cycle", with the
    cosine of Loshchilov and Hutter 2017.)

    Args:
        peak: the highest learning rate.
        total: outer steps of the whole cycle; None: no decay.
        warmup: outer steps of the rise.
        final: share of the peak that is left at the end.
    """

    peak: float
    total: int | None = None
    warmup: int = 0
    final: float = 0.0

    def __post_init__(self) -> None:
        _rate(self.peak)
        if self.total is not None and not 0 <= self.warmup < self.total:
            raise ValueError(f"warmup={self.warmup}, want 0 <= warmup < total={self.total} outer steps")

    def __call__(self, step: int) -> float:
        if step < self.warmup:
            return self.peak * (step + 1) / (self.warmup + 1)
        if self.total is None:
            return self.peak
        done = min(1.0, (step - self.warmup) / (self.total - self.warmup))
        return self.peak * (self.final + (1 - self.final) * (1 + cos(pi * done)) / 2)


@dataclass(frozen=True)
class Cooldown:
    """`peak` throughout, and in the last outer steps a straight line down to 0 (Hägele et al. 2024, arXiv:2405.18392).

    Without a warm-up, and high for longer than a cosine: for what must first leave a plateau.

    Args:
        peak: the highest learning rate.
        total: outer steps.
        fraction: of them, in which the rate falls.
    """

    peak: float
    total: int
    fraction: float = 0.3

    def __post_init__(self) -> None:
        _rate(self.peak)
        if self.total < 1 or not 0 < self.fraction <= 1:
            raise ValueError(f"total={self.total}, fraction={self.fraction}, want outer steps, and 0 < share <= 1")

    def __call__(self, step: int) -> float:
        return self.peak * min(1.0, max(0.0, (self.total - step) / (self.fraction * self.total)))


@dataclass(frozen=True)
class LinearEpsilon:
    """From `initial` in a straight line to `final`, after so many steps in the world, and flat from there; all rows alike
    (Mnih et al. 2015)."""

    initial: float = 1.0
    final: float = 0.05
    decay_steps: int = 10_000

    def __post_init__(self) -> None:
        _check_probabilities(initial=self.initial, final=self.final)
        if self.decay_steps < 0:
            raise ValueError(f"decay_steps={self.decay_steps}, want 0 or more steps in the world")

    def __call__(self, step: int, rows: int) -> list[float]:
        done = min(1.0, step / self.decay_steps) if self.decay_steps else 1.0
        return [self.initial + (self.final - self.initial) * done] * rows


@dataclass(frozen=True)
class ApexEpsilon:
    """Each row its own, for ever: first ^ (1 + power i / (rows - 1)), from one that explores to one that hardly does
    (Horgan et al. 2018, arXiv:1803.00933, as in R2D2)."""

    base: float = 0.4
    alpha: float = 7.0

    def __post_init__(self) -> None:
        _check_probabilities(base=self.base)
        if not self.alpha >= 0:
            raise ValueError(f"alpha={self.alpha}, want at least 0")

    def __call__(self, step: int, rows: int) -> list[float]:
        return [self.base ** (1 + self.alpha * row / max(1, rows - 1)) for row in range(rows)]


def _rate(peak: float) -> None:
    if not peak > 0:
        raise ValueError(f"peak={peak}, want a learning rate above 0")


def _check_probabilities(**chances: float) -> None:
    for name, chance in chances.items():
        if not 0 <= chance <= 1:
            raise ValueError(f"{name}={chance}, want a probability, 0 to 1")
