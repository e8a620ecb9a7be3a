"""Priority sort: vectors come with priorities, and are to be given back in the order of these."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tasks.sequence.base import SequenceTask
from tasks.task import MultiDiscrete, check_positive


@dataclass(frozen=True)
class PrioritySort(SequenceTask):
    """Binary vectors are shown with their priorities; then give back those of highest priority, the highest first.

    Seen are [bits, priority, 0], priorities uniform in [-1, 1], and in the steps in which an answer is due
    [0, 0, 1]. An answer is all bits of a vector: logits (B, 2 bits), two beside each other for each bit, or integers
    (B, bits). Of two with the same priority, the one shown first comes first.

    Graves et al. 2014, arXiv:1410.5401, section 4.5, and Munkhdalai et al. 2019: 20 vectors of 8 bits, of which the
    first 16 are due.

    Args:
        vectors: shown. answers: of them, how many are due.
        bits: of a vector.
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

    def _draw(self, batch: int, rng: torch.Generator) -> tuple[Float[Tensor, "B T O"], Int[Tensor, "B T bits"]]:
        shape, device = (batch, self.vectors), rng.device
        bits = torch.randint(2, (*shape, self.bits), generator=rng, device=device)
        priority = torch.rand(shape, generator=rng, device=device, dtype=self.dtype) * 2 - 1
        order = priority.argsort(dim=-1, descending=True, stable=True)[:, : self.answers]
        answers = bits.gather(1, order.unsqueeze(-1).expand(-1, -1, self.bits))
        shown = priority.new_zeros(batch, self.steps, self.obs_size)
        shown[:, : self.vectors, :-1] = torch.cat([bits.to(self.dtype), priority.unsqueeze(-1)], -1)
        shown[:, self.vectors :, -1] = 1
        return shown, torch.cat([torch.full_like(bits, -1), answers], 1)

    def _reference_accuracy(self) -> dict[str, float]:
        """Chance; and saying of each bit what most of the vectors shown have, without knowing their order."""
        often = [max(set_, self.vectors - set_) * math.comb(self.vectors, set_) for set_ in range(self.vectors + 1)]
        return {"chance": 1 / 2, "bits without order": sum(often) / self.vectors / 2**self.vectors}
