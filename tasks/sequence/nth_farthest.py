"""Nth farthest: which of several vectors is the Nth farthest from another one (Santoro et al. 2018)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from tasks.observations import ObsPart
from tasks.sequence.base import SequenceTask
from tasks.task import Discrete, check_positive


@dataclass(frozen=True)
class NthFarthest(SequenceTask):
    """Nth farthest: labelled vectors are shown one by one; the label of the Nth farthest from vector M is asked for.

    Each step shows [vector, one-hot label, one-hot N, one-hot M]; N and M are the same in all steps of an episode, so
    that distances can be compared as the vectors come. The answer is due in the last step. Vectors are uniform in
    [-1, 1]^size, their labels a random order, distances Euclidean. All vectors are ranked, the one with label M too,
    which is the nearest to itself. An agent without relations between the vectors that it remembers can learn little
    more than that.

    Args:
        vectors: the number of vectors, of labels and of options.
        size: numbers in a vector.

    Raises:
        ValueError: a size below 1.

    Source: Santoro et al. 2018 (arXiv:1806.01822), section 4.1: 8 vectors of 16 numbers; RMC 91 %.
    """

    vectors: int = 8
    size: int = 16

    score: ClassVar[str] = "accuracy"
    better: ClassVar[str] = "higher"

    def __post_init__(self) -> None:
        check_positive(vectors=self.vectors, size=self.size)
        self._set_steps(self.vectors)

    @property
    def obs_size(self) -> int:
        return self.size + 3 * self.vectors

    @property
    def obs_parts(self) -> tuple[ObsPart, ...]:
        return ObsPart("vector", (self.size,)), ObsPart("one_hot", (3 * self.vectors,))

    @property
    def action_space(self) -> Discrete:
        return Discrete(self.vectors)

    def _sample(self, batch: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        device, shape = rng.device, (batch, self.vectors)
        vectors = 2 * torch.rand(*shape, self.size, generator=rng, device=device, dtype=self.dtype) - 1
        labels = torch.rand(shape, generator=rng, device=device).argsort(-1)
        rank, reference = torch.randint(self.vectors, (2, batch), generator=rng, device=device)
        place = labels.argsort(-1).gather(1, reference.unsqueeze(-1))  # of the vector with label M
        distance = (vectors - vectors.gather(1, place.unsqueeze(-1).expand(-1, -1, self.size))).norm(dim=-1)
        farthest = distance.argsort(-1, descending=True).gather(1, rank.unsqueeze(-1))
        targets = torch.full(shape, -1, device=device)
        targets[:, -1] = labels.gather(1, farthest).squeeze(-1)
        constant = torch.cat([one_hot(part, self.vectors) for part in (rank, reference)], -1)
        parts = vectors, one_hot(labels, self.vectors), constant.unsqueeze(1).expand(-1, self.vectors, -1)
        return torch.cat([part.to(self.dtype) for part in parts], -1), targets

    def _reference_accuracy(self) -> dict[str, float]:
        return {"chance": 1 / self.vectors}
