"""Noisy views: a sequence task whose observations are high-dimensional, noisy, and shown several times."""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tasks.sequence.associative_recall import AssociativeRecall
from tasks.sequence.base import SequenceTask
from tasks.task import Discrete, MultiDiscrete, Task, check_positive


@dataclass(frozen=True)
class NoisyViews(SequenceTask):
    """A sequence task behind noisy, high-dimensional observations: what is seen has to be inferred before it is stored.

    Each observation of the wrapped task is mapped to `size` numbers by a fixed random matrix, and shown in `views`
    consecutive steps, each with new normal noise. An answer is given at the last view. The signal lies in a subspace of
    as many dimensions as the wrapped task observes, which a loss that reconstructs or predicts observations finds
    without rewards; views of one observation can be merged into one row of a memory, so that few slots suffice.

    Args:
        steps: derived: `views` times those of the wrapped task.
        task: the wrapped sequence task.
        size: numbers in an observation.
        noise: standard deviation of the noise in each number. That of the signal is below 1.
        views: steps in which each observation is shown.
        projection: seed of the random matrix, whose entries have variance 1 / (numbers observed in the wrapped task).

    Raises:
        ValueError: `task` is no sequence task, a size below 1, or negative noise.
    """

    task: Task = field(default_factory=lambda: AssociativeRecall(4, 1))
    size: int = 64
    noise: float = 1.0
    views: int = 2
    projection: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.task, SequenceTask):
            raise ValueError(f"task={self.task!r}, want a sequence task, as in NoisyViews(Copy())")
        check_positive(size=self.size, views=self.views)
        if not self.noise >= 0:
            raise ValueError(f"noise={self.noise}, want a standard deviation of at least 0")
        self._set_steps(self.views * self.task.steps)

    @property
    def obs_size(self) -> int:
        return self.size

    @property
    def action_space(self) -> Discrete | MultiDiscrete:
        return self._sequence.action_space

    @property
    def _sequence(self) -> SequenceTask:
        return cast(SequenceTask, self.task)

    def _sample(self, batch: int, rng: torch.Generator) -> tuple[Float[Tensor, "B T O"], Int[Tensor, "B T *n"]]:
        inputs, targets = self._sequence._sample(batch, rng)
        signal = self._sequence._observe(inputs).to(self.dtype)  # (B, S, O) of the wrapped task
        seen = (signal @ _projection(self.projection, signal.shape[-1], self.size).to(signal)).repeat_interleave(
            self.views, 1
        )
        noise = torch.randn(seen.shape, generator=rng, device=rng.device, dtype=self.dtype)
        answers = torch.full_like(targets, -1).repeat_interleave(self.views, 1)
        answers[:, self.views - 1 :: self.views] = targets
        return seen + self.noise * noise, answers

    def _reference_accuracy(self) -> dict[str, float]:
        return self._sequence._reference_accuracy()


@lru_cache(maxsize=16)
def _projection(seed: int, obs_size: int, size: int) -> Float[Tensor, "O size"]:
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(obs_size, size, generator=rng, dtype=torch.float64) * obs_size**-0.5
