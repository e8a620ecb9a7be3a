"""Associative recall: given a list of items and a query item, output the item that followed it (NTM)."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tasks.sequence.base import SequenceTask
from tasks.task import MultiDiscrete, check_positive


@dataclass(frozen=True)
class AssociativeRecall(SequenceTask):
    """Associative recall of the Neural Turing Machine: output the item that followed the query item in a list.

    An item is a sequence of random binary vectors. Observations are [bits, 0, 0, 0] for a vector; a delimiter has bits
    of 0 and a 1 in one of the last three components: before each item, before the query, or in each answer step. An
    answer is one vector: logits (B, 2 bits), two adjacent ones per bit, or integers (B, bits). The query is uniformly
    sampled among all items but the last; of duplicate items the first counts.

    Graves et al. 2014, arXiv:1410.5401, section 4.3: items of 3 vectors of 6 bits, 2 to 6 items in training:
    `RandomSizes(AssociativeRecall(), {"items": (2, 6)})`. There a delimiter also ends the query, and observations of
    answer steps are zeros; here they have a flag, as in the other tasks.

    Args:
        steps: derived from the sizes.
        items: the number of items in the list.
        vectors: the number of vectors of an item.
        bits: the number of bits of a vector.

    Raises:
        ValueError: fewer than 2 items, or a size below 1.
    """

    items: int = 6
    vectors: int = 3
    bits: int = 6

    def __post_init__(self) -> None:
        check_positive(items=self.items, vectors=self.vectors, bits=self.bits)
        if self.items < 2:
            raise ValueError(f"items={self.items}, want at least 2, as the answer is the item after another one")
        self._set_steps((self.items + 1) * (self.vectors + 1) + self.vectors)

    @property
    def obs_size(self) -> int:
        return self.bits + 3

    @property
    def action_space(self) -> MultiDiscrete:
        return MultiDiscrete((2,) * self.bits)

    def _sample(self, batch: int, rng: torch.Generator) -> tuple[Float[Tensor, "B T O"], Int[Tensor, "B T bits"]]:
        device = rng.device
        rows = torch.arange(batch, device=device)
        items = torch.randint(2, (batch, self.items, self.vectors, self.bits), generator=rng, device=device)
        query = items[rows, torch.randint(self.items - 1, (batch,), generator=rng, device=device)]
        match = (items == query.unsqueeze(1)).flatten(2).all(-1).long().argmax(-1)  # the first of duplicates
        answers = items[rows, match + 1]  # (B, vectors, bits)

        inputs = torch.zeros(batch, self.items + 1, self.vectors + 1, self.obs_size, dtype=self.dtype, device=device)
        inputs[:, :, 1:, : self.bits] = torch.cat([items, query.unsqueeze(1)], 1).to(self.dtype)
        inputs[:, :-1, 0, -3] = 1
        inputs[:, -1, 0, -2] = 1
        recall = inputs.new_zeros(batch, self.vectors, self.obs_size)
        recall[..., -1] = 1
        padding = answers.new_full((batch, self.steps - self.vectors, self.bits), -1)
        return torch.cat([inputs.flatten(1, 2), recall], 1), torch.cat([padding, answers], 1)

    def _reference_accuracy(self) -> dict[str, float]:
        return {"chance": 1 / 2}
