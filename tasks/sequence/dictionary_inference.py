"""Dictionary inference: infer a new dictionary from example translations, then translate a query."""

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
"""Names of the tokens: letters, end of a sequence, of an example and of all examples, and the answer placeholder."""


@dataclass(frozen=True)
class DictionaryInference(SequenceTask):
    """Few-shot translation: infer a random dictionary from examples and translate (Munkhdalai et al. 2019, 4.1).

    In each episode the 26 letters are randomly split into 13 of a source and 13 of a target language, with a random
    bijection between them. The inputs are `pairs` examples, each `length` source letters, sampled with replacement, and
    their translation; then a query of `length` letters, uniformly sampled from those in the examples. The targets are
    its translation.

    The inputs are (source EOS translation SEP) x pairs, END, query EOS, and `length` placeholders, which are the answer
    steps: 2 (pairs + 1) (length + 1) steps of 30 one-hot tokens. An answer is one of the same 30.

    The query may equal an example: with one letter it has to, with four or more it rarely does. The paper does not
    state the distribution of the letters of a query.

    `levels` has the four sizes of the paper, (pairs, length); `DictionaryInference.level(3)` is the third.

    Args:
        steps: derived from the sizes.
        pairs: the number of examples.
        length: the number of letters of a sequence.
    """

    pairs: int = 4
    length: int = 1

    levels: ClassVar[tuple[tuple[int, int], ...]] = ((4, 1), (8, 4), (12, 8), (16, 12))

    def __post_init__(self) -> None:
        check_positive(pairs=self.pairs, length=self.length)
        self._set_steps(2 * (self.pairs + 1) * (self.length + 1))

    @classmethod
    def level(cls, number: int, *, dtype: torch.dtype = torch.float32) -> "DictionaryInference":
        """One of the four published sizes.

        Args:
            number: the level, from 1 to 4.
            dtype: the dtype of observations and rewards.

        Raises:
            ValueError: another number.
        """
        if not 1 <= number <= len(cls.levels):
            raise ValueError(
                f"number={number}, want a level from 1 to {len(cls.levels)}; other sizes: DictionaryInference(8, 4)"
            )
        return cls(*cls.levels[number - 1], dtype=dtype)

    def step_labels(self, state: SequenceState, row: int = 0) -> list[str]:
        """The tokens of one episode.

        Args:
            state: a state of the episodes.
            row: the index of the episode in the batch.
        """
        return [TOKENS[token] for token in state.inputs[row].tolist()]

    @property
    def obs_size(self) -> int:
        return len(TOKENS)

    @property
    def action_space(self) -> Discrete:
        return Discrete(len(TOKENS))

    def _sample(self, batch: int, rng: torch.Generator) -> tuple[Int[Tensor, "B T"], Int[Tensor, "B T"]]:
        device, shape = rng.device, (batch, self.pairs, self.length)
        letters = torch.rand(batch, LETTERS, generator=rng, device=device).argsort(
            -1
        )  # 13 source letters, then their translations
        words = torch.randint(HALF, (batch, self.pairs * self.length), generator=rng, device=device)
        query_words = self._sample_query(words, rng)
        source, target = (letters.gather(1, words + shift).view(shape) for shift in (0, HALF))

        def repeat(token: int, count: int, *sizes: int) -> Tensor:
            return letters.new_full((batch, *sizes, count), token)

        examples = [source, repeat(EOS, 1, self.pairs), target, repeat(SEP, 1, self.pairs)]
        query = [repeat(END, 1), letters.gather(1, query_words), repeat(EOS, 1), repeat(PLACEHOLDER, self.length)]
        inputs = torch.cat([torch.cat(examples, -1).flatten(1), *query], 1)
        answers = letters.gather(1, query_words + HALF)
        return inputs, torch.cat([repeat(-1, self.steps - self.length), answers], 1)

    def _sample_query(self, words: Tensor, rng: torch.Generator) -> Int[Tensor, "B L"]:
        """Indices into the dictionary, sampled from those in the examples by the argmax of masked random numbers."""
        absent = torch.ones(len(words), HALF, dtype=torch.bool, device=words.device).scatter(1, words, False)
        random = torch.rand(len(words), self.length, HALF, generator=rng, device=words.device)
        return random.masked_fill(absent.unsqueeze(1), -1).argmax(-1)

    def _reference_accuracy(self) -> dict[str, float]:
        """Chance among all tokens, and a guess among the target letters of the examples."""
        return {"chance": 1 / len(TOKENS), "letters without pairs": self._letters_accuracy()}

    def _letters_accuracy(self) -> float:
        """E[1 / d] for the number d of different letters in the examples."""
        probability = [1.0] + [0.0] * HALF  # of each d
        for _ in range(self.pairs * self.length):
            old = [p * d / HALF for d, p in enumerate(probability)]
            new = [0.0] + [p * (HALF - d) / HALF for d, p in enumerate(probability[:-1])]
            probability = [a + b for a, b in zip(old, new, strict=True)]
        return sum(p / d for d, p in enumerate(probability) if d)
