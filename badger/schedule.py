"""Learning rates as pure functions of the outer step."""

from dataclasses import dataclass
from math import cos, pi


@dataclass(frozen=True)
class Schedule:
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
        if not self.peak > 0:
            raise ValueError(f"peak={self.peak}, want a learning rate above 0")
        if self.total is not None and not 0 <= self.warmup < self.total:
            raise ValueError(f"warmup={self.warmup}, want 0 <= warmup < total={self.total} outer steps")

    def __call__(self, step: int) -> float:
        if step < self.warmup:
            return self.peak * (step + 1) / (self.warmup + 1)
        if self.total is None:
            return self.peak
        done = min(1.0, (step - self.warmup) / (self.total - self.warmup))
        return self.peak * (self.final + (1 - self.final) * (1 + cos(pi * done)) / 2)
