"""Associative recall: after a list of items, one of them is shown again, and the next in the list is due."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tasks.sequence.base import SequenceTask
from tasks.task import MultiDiscrete, check_positive


@dataclass(frozen=True)
class AssociativeRecall(SequenceTask):
    """Items are shown, each some random binary vectors; then one of them again: give back the item that followed it.

    Seen are [bits, 0, 0, 0] for a vector, and for signs, whose bits are 0, a 1 in one of the last three numbers: one
    stands before each item, one before the query, and one in each of the steps in which an answer is due, a vector
    each: logits (B, 2 bits), two beside each other for each bit, or integers (B, bits). The query is any item but the
    last, equally likely; should the same item stand twice in the list, the first counts.

    Graves et al. 2014, arXiv:1410.5401, section 4.3: items of 3 vectors of 6 bits, in training 2 to 6 of them, so
    `RandomSizes(AssociativeRecall(), {"items": (2, 6)})`. There the sign of the query closes it, too, and the steps of
    answers show nothing; here they show that an answer is due, as in the other tasks.

    Args:
        items: in the list.
        vectors: of an item. bits: of a vector.
    """

    items: int = 6
    vectors: int = 3
    bits: int = 6

    def __post_init__(self) -> None:
        check_positive(items=self.items, vectors=self.vectors, bits=self.bits)
        if self.items < 2:
            raise ValueError(f"items={self.items}, want at least 2, for the one that follows another is asked for")
        self._set_steps((self.items + 1) * (self.vectors + 1) + self.vectors)

    @property
    def obs_size(self) -> int:
        return self.bits + 3

    @property
    def action_space(self) -> MultiDiscrete:
        return MultiDiscrete((2,) * self.bits)

    def _draw(self, batch: int, rng: torch.Generator) -> tuple[Float[Tensor, "B T O"], Int[Tensor, "B T bits"]]:
        device = rng.device
        rows = torch.arange(batch, device=device)
        items = torch.randint(2, (batch, self.items, self.vectors, self.bits), generator=rng, device=device)
        query = items[rows, torch.randint(self.items - 1, (batch,), generator=rng, device=device)]
        found = (items == query.unsqueeze(1)).flatten(2).all(-1).long().argmax(-1)  # of several, the first
        answers = items[rows, found + 1]  # (B, vectors, bits)

        shown = torch.zeros(batch, self.items + 1, self.vectors + 1, self.obs_size, dtype=self.dtype, device=device)
        shown[:, :, 1:, : self.bits] = torch.cat([items, query.unsqueeze(1)], 1).to(self.dtype)
        shown[:, :-1, 0, -3] = 1
        shown[:, -1, 0, -2] = 1
        recall = shown.new_zeros(batch, self.vectors, self.obs_size)
        recall[..., -1] = 1
        nothing = answers.new_full((batch, self.steps - self.vectors, self.bits), -1)
        return torch.cat([shown.flatten(1, 2), recall], 1), torch.cat([nothing, answers], 1)

    def _reference_accuracy(self) -> dict[str, float]:
        return {"chance": 1 / 2}
