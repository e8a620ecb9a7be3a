"""Priority sort: output binary vectors in the order of their priorities (NTM)."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tasks.sequence.base import SequenceTask
from tasks.task import MultiDiscrete, check_positive


@dataclass(frozen=True)
class PrioritySort(SequenceTask):
    """Priority sort of the Neural Turing Machine: output the vectors of highest priority, the highest first.

    Observations are [bits, priority, 0], with priorities uniform in [-1, 1], and [0, 0, 1] in answer steps. An answer
    is all bits of a vector: logits (B, 2 bits), two adjacent ones per bit, or integers (B, bits). Of two vectors with
    the same priority, the one observed first comes first.

    Graves et al. 2014, arXiv:1410.5401, section 4.5, and Munkhdalai et al. 2019: 20 vectors of 8 bits, 16 answers.

    Args:
        steps: derived from the sizes.
        vectors: the number of vectors.
        answers: the number of vectors to output.
        bits: the number of bits of a vector.

    Raises:
        ValueError: more answers than vectors, or a size below 1.
    """

    vectors: int = 20
    answers: int = 16
    bits: int = 8

    def __post_init__(self) -> None:
        check_positive(vectors=self.vectors, answers=self.answers, bits=self.bits)
        if self.answers > self.vectors:
            raise ValueError(f"answers={self.answers} of vectors={self.vectors}, want answers <= vectors")
        self._set_steps(self.vectors + self.answers)

    @property
    def obs_size(self) -> int:
        return self.bits + 2

    @property
    def action_space(self) -> MultiDiscrete:
        return MultiDiscrete((2,) * self.bits)

    def _sample(self, batch: int, rng: torch.Generator) -> tuple[Float[Tensor, "B T O"], Int[Tensor, "B T bits"]]:
        shape, device = (batch, self.vectors), rng.device
        bits = torch.randint(2, (*shape, self.bits), generator=rng, device=device)
        priority = torch.rand(shape, generator=rng, device=device, dtype=self.dtype) * 2 - 1
        order = priority.argsort(dim=-1, descending=True, stable=True)[:, : self.answers]
        answers = bits.gather(1, order.unsqueeze(-1).expand(-1, -1, self.bits))
        inputs = priority.new_zeros(batch, self.steps, self.obs_size)
        inputs[:, : self.vectors, :-1] = torch.cat([bits.to(self.dtype), priority.unsqueeze(-1)], -1)
        inputs[:, self.vectors :, -1] = 1
        return inputs, torch.cat([torch.full_like(bits, -1), answers], 1)

    def _reference_accuracy(self) -> dict[str, float]:
        """Chance level, and the majority of each bit over all vectors, without their order."""
        majority = [max(ones, self.vectors - ones) * math.comb(self.vectors, ones) for ones in range(self.vectors + 1)]
        return {"chance": 1 / 2, "bits without order": sum(majority) / self.vectors / 2**self.vectors}
