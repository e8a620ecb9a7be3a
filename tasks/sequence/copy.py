"""Copy task: reproduce a sequence of symbols from memory, once or several times."""

from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Int
from torch import Tensor

from tasks.sequence.base import SequenceTask
from tasks.task import Discrete, check_positive


@dataclass(frozen=True)
class Copy(SequenceTask):
    """Copy task of the Neural Turing Machine: output a random sequence of symbols in order, `repeats` times.

    Symbols are sampled with replacement. Observations are one-hot symbols and a flag that is 1 in all answer steps,
    which follow the `length` symbols. After Graves et al. 2014, arXiv:1410.5401, section 4.1, with symbols instead of
    bits as in Munkhdalai et al. 2019, whose double copy task is `DoubleCopy(50)`.

    Args:
        steps: derived from the sizes.
        length: the length of the sequence.
        symbols: the number of different symbols.
        repeats: the number of copies to output.
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

    def _sample(self, batch: int, rng: torch.Generator) -> tuple[Int[Tensor, "B T"], Int[Tensor, "B T"]]:
        symbols = torch.randint(self.symbols, (batch, self.length), generator=rng, device=rng.device)
        recall = symbols.new_full((batch, self.length * self.repeats), self.symbols)
        padding = torch.full_like(symbols, -1)
        return torch.cat([symbols, recall], 1), torch.cat([padding, symbols.repeat(1, self.repeats)], 1)

    def _reference_accuracy(self) -> dict[str, float]:
        return {"chance": 1 / self.symbols}


DoubleCopy = partial(Copy, repeats=2)
"""`Copy` with two repeats: `DoubleCopy(50)` is the task of Munkhdalai et al. 2019, section 4.1."""
