"""Dictionary inference: learn a new dictionary from examples, and translate with it."""

from dataclasses import dataclass
from string import ascii_lowercase
from typing import ClassVar

import torch
from jaxtyping import Int
from torch import Tensor

from tasks.sequence.base import SequenceState, SequenceTask
from tasks.task import Discrete, check_positive

LETTERS, HALF = 26, 13
EOS, SEP, END, PLACEHOLDER = range(LETTERS, LETTERS + 4)
TOKENS = (*ascii_lowercase, "EOS", "SEP", "END", "?")
"""The names of the tokens: letters, end of a sequence, of an example, of all examples, and where an answer is due."""


@dataclass(frozen=True)
class DictionaryInference(SequenceTask):
    """Translate letter by letter, with a dictionary that is told by examples (Munkhdalai et al. 2019, section 4.1).

    In each episode the 26 letters are parted at random into 13 of a source and 13 of a target language, with a random
    bijection between them. `pairs` examples are shown, each `length` source letters, drawn with replacement, and their
    translation; then a query of `length` letters, each drawn from those that have occurred in the examples, equally
    likely. What is due is its translation.

    Shown are (source EOS translation SEP) x pairs, END, query EOS, and `length` placeholders, at which the answers
    are due: 2 (pairs + 1) (length + 1) steps, of 30 tokens, seen one-hot. An answer is one of the same 30.

    That the query is a sequence not shown before is not enforced: with one letter it cannot be, with four or more of
    them it hardly ever happens. The paper does not tell how frequent letters of the query are.

    `levels`: the four of the paper, (pairs, length); `DictionaryInference.level(3)` is the third.

    Args:
        pairs: examples. length: letters of a sequence.
    """

    pairs: int = 4
    length: int = 1

    levels: ClassVar[tuple[tuple[int, int], ...]] = ((4, 1), (8, 4), (12, 8), (16, 12))

    def __post_init__(self) -> None:
        check_positive(pairs=self.pairs, length=self.length)
        self._set_steps(2 * (self.pairs + 1) * (self.length + 1))

    @classmethod
    def level(cls, number: int, *, dtype: torch.dtype = torch.float32) -> "DictionaryInference":
        """One of the four published sizes, counted from 1."""
        if not 1 <= number <= len(cls.levels):
            raise ValueError(f"level {number}, want 1 to {len(cls.levels)}; other sizes: DictionaryInference(8, 4)")
        return cls(*cls.levels[number - 1], dtype=dtype)

    def step_labels(self, state: SequenceState, row: int = 0) -> list[str]:
        """The tokens of the episode of a row."""
        return [TOKENS[token] for token in state.inputs[row].tolist()]

    @property
    def obs_size(self) -> int:
        return len(TOKENS)

    @property
    def action_space(self) -> Discrete:
        return Discrete(len(TOKENS))

    def _draw(self, batch: int, rng: torch.Generator) -> tuple[Int[Tensor, "B T"], Int[Tensor, "B T"]]:
        device, shape = rng.device, (batch, self.pairs, self.length)
        letters = torch.rand(batch, LETTERS, generator=rng, device=device).argsort(-1)  # source, then their translation
        told = torch.randint(HALF, (batch, self.pairs * self.length), generator=rng, device=device)
        asked = self._draw_query(told, rng)
        source, target = (letters.gather(1, told + shift).view(shape) for shift in (0, HALF))

        def sign(token: int, count: int, *sizes: int) -> Tensor:
            return letters.new_full((batch, *sizes, count), token)

        examples = [source, sign(EOS, 1, self.pairs), target, sign(SEP, 1, self.pairs)]
        query = [sign(END, 1), letters.gather(1, asked), sign(EOS, 1), sign(PLACEHOLDER, self.length)]
        shown = torch.cat([torch.cat(examples, -1).flatten(1), *query], 1)
        answers = letters.gather(1, asked + HALF)
        return shown, torch.cat([sign(-1, self.steps - self.length), answers], 1)

    def _draw_query(self, told: Tensor, rng: torch.Generator) -> Int[Tensor, "B L"]:
        """Words of the dictionary, drawn from those that were told: of random numbers, the highest of theirs wins."""
        unknown = torch.ones(len(told), HALF, dtype=torch.bool, device=told.device).scatter(1, told, False)
        drawn = torch.rand(len(told), self.length, HALF, generator=rng, device=told.device)
        return drawn.masked_fill(unknown.unsqueeze(1), -1).argmax(-1)

    def _reference_accuracy(self) -> dict[str, float]:
        """Chance among all tokens; and knowing which letters have been the translation of any, but not of which."""
        return {"chance": 1 / len(TOKENS), "letters without pairs": self._letters_accuracy()}

    def _letters_accuracy(self) -> float:
        """E[1 / d] for the number d of different letters among those drawn."""
        often = [1.0] + [0.0] * HALF  # how likely d is after so many draws
        for _ in range(self.pairs * self.length):
            old = [p * d / HALF for d, p in enumerate(often)]
            new = [0.0] + [p * (HALF - d) / HALF for d, p in enumerate(often[:-1])]
            often = [a + b for a, b in zip(old, new, strict=True)]
        return sum(p / d for d, p in enumerate(often) if d)
