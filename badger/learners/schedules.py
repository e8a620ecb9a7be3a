"""Schedules of the learning rate over outer steps, and of the exploration epsilon over environment steps."""

from collections.abc import Callable
from dataclasses import dataclass
from math import cos, pi

LearningRate = float | Callable[[int], float]  # a constant, or a function of the outer step
EpsilonSchedule = Callable[[int, int], list[float]]  # (environment steps so far, rows) -> epsilon of each row


@dataclass(frozen=True)
class WarmupCosine:
    """Linear warm-up to `peak`, then a half cosine down to `final` x peak at outer step `total`, constant from there.

    Without `total` the rate stays at its peak after `warmup` steps.

    Args:
        peak: the highest learning rate.
        total: outer steps of the whole cycle; None: no decay.
        warmup: outer steps of the linear rise.
        final: the last rate, as a fraction of the peak.

    Raises:
        ValueError: a peak that is not above 0, or warmup not below total.

    Source: the one-cycle schedule of Smith and Topin 2019, with the cosine of Loshchilov and Hutter 2017.
    """

    peak: float
    total: int | None = None
    warmup: int = 0
    final: float = 0.0

    def __post_init__(self) -> None:
        _check_peak(self.peak)
        if self.total is not None and not 0 <= self.warmup < self.total:
            raise ValueError(f"warmup={self.warmup}, want 0 <= warmup < total={self.total} outer steps")

    def __call__(self, step: int) -> float:
        if step < self.warmup:
            return self.peak * (step + 1) / (self.warmup + 1)
        if self.total is None:
            return self.peak
        progress = min(1.0, (step - self.warmup) / (self.total - self.warmup))
        return self.peak * (self.final + (1 - self.final) * (1 + cos(pi * progress)) / 2)


@dataclass(frozen=True)
class Cooldown:
    """A constant learning rate `peak`, then a linear decay to 0 over the last `fraction` of the outer steps.

    It stays high for longer than a cosine, for training that must first leave a plateau.

    Args:
        peak: the highest learning rate.
        total: outer steps of the run.
        fraction: the part of `total` in which the rate decays.

    Raises:
        ValueError: a peak that is not above 0, no outer steps, or a fraction outside of (0, 1].

    Source: Hägele et al. 2024, arXiv:2405.18392.
    """

    peak: float
    total: int
    fraction: float = 0.3

    def __post_init__(self) -> None:
        _check_peak(self.peak)
        if self.total < 1 or not 0 < self.fraction <= 1:
            raise ValueError(f"total={self.total}, fraction={self.fraction}, want total >= 1 and 0 < fraction <= 1")

    def __call__(self, step: int) -> float:
        return self.peak * min(1.0, max(0.0, (self.total - step) / (self.fraction * self.total)))


@dataclass(frozen=True)
class LinearEpsilon:
    """Linear decay of epsilon from `initial` to `final`, the same for all rows, constant after `decay_steps`.

    Args:
        initial: epsilon at the first step.
        final: epsilon after the decay.
        decay_steps: environment steps of the decay, over all rows.

    Raises:
        ValueError: an epsilon that is not a probability, or a negative number of steps.

    Source: Mnih et al. 2015 (DQN).
    """

    initial: float = 1.0
    final: float = 0.05
    decay_steps: int = 10_000

    def __post_init__(self) -> None:
        _check_probabilities(initial=self.initial, final=self.final)
        if self.decay_steps < 0:
            raise ValueError(f"decay_steps={self.decay_steps}, want 0 or more environment steps")

    def __call__(self, step: int, rows: int) -> list[float]:
        progress = min(1.0, step / self.decay_steps) if self.decay_steps else 1.0
        return [self.initial + (self.final - self.initial) * progress] * rows


@dataclass(frozen=True)
class ApexEpsilon:
    """A constant epsilon for each row, base ^ (1 + alpha i / (rows - 1)): from high to low over the rows.

    Args:
        base: epsilon of the first row.
        alpha: the larger, the lower the epsilon of the last row.

    Raises:
        ValueError: a base that is not a probability, or a negative alpha.

    Source: Horgan et al. 2018 (Ape-X), arXiv:1803.00933, as in R2D2.
    """

    base: float = 0.4
    alpha: float = 7.0

    def __post_init__(self) -> None:
        _check_probabilities(base=self.base)
        if not self.alpha >= 0:
            raise ValueError(f"alpha={self.alpha}, want at least 0")

    def __call__(self, step: int, rows: int) -> list[float]:
        return [self.base ** (1 + self.alpha * row / max(1, rows - 1)) for row in range(rows)]


def _check_peak(peak: float) -> None:
    if not peak > 0:
        raise ValueError(f"peak={peak}, want a learning rate above 0")


def _check_probabilities(**probabilities: float) -> None:
    for name, probability in probabilities.items():
        if not 0 <= probability <= 1:
            raise ValueError(f"{name}={probability}, want a probability, 0 to 1")
