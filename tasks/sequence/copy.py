"""Copying: symbols are shown, and then to be said again, once or several times."""

from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Int
from torch import Tensor

from tasks.sequence.base import SequenceTask
from tasks.task import Discrete, check_positive


@dataclass(frozen=True)
class Copy(SequenceTask):
    """Symbols are shown, drawn with replacement; then say all of them in their order, `repeats` times.

    Seen are one-hot symbols, and beside them one more number, 1 in all the steps in which an answer is due: those
    after the `length` symbols. After Graves et al. 2014, arXiv:1410.5401, section 4.1; of symbols instead of bits as
    in Munkhdalai et al. 2019, whose double copy is `DoubleCopy(50)`.

    Args:
        length: symbols shown.
        symbols: how many there are.
        repeats: how often they are to be said.
    """

    length: int = 10
    symbols: int = 10
    repeats: int = 1

    def __post_init__(self) -> None:
        check_positive(length=self.length, symbols=self.symbols, repeats=self.repeats)
        self._set_steps(self.length * (1 + self.repeats))

    @property
    def obs_size(self) -> int:
        return self.symbols + 1

    @property
    def action_space(self) -> Discrete:
        return Discrete(self.symbols)

    def _draw(self, batch: int, rng: torch.Generator) -> tuple[Int[Tensor, "B T"], Int[Tensor, "B T"]]:
        symbols = torch.randint(self.symbols, (batch, self.length), generator=rng, device=rng.device)
        recall = symbols.new_full((batch, self.length * self.repeats), self.symbols)
        nothing = torch.full_like(symbols, -1)
        return torch.cat([symbols, recall], 1), torch.cat([nothing, symbols.repeat(1, self.repeats)], 1)

    def _reference_accuracy(self) -> dict[str, float]:
        return {"chance": 1 / self.symbols}


DoubleCopy = partial(Copy, repeats=2)
"""`Copy` whose symbols are to be said twice: `DoubleCopy(50)` is the task of Munkhdalai et al. 2019, section 4.1."""
