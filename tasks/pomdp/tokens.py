"""Words of a file in Cassandra's POMDP format, with their places, and the error that names a place.

A word is a number, a name, a colon or a star. Line breaks mean no more than spaces, and `#` begins a comment.
"""

import math
import re
from typing import NamedTuple

import numpy as np

from tasks.pomdp.model import KEYWORDS, NAME

NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
WORD = re.compile(rf"(?P<space>[\s]+|\#[^\n]*)|(?P<word>[:*]|(?:{NUMBER}|{NAME})(?=[\s:*\#]|$))|(?P<wrong>[^\s:*\#]+)")
END = "the end of the file"


class PomdpSyntaxError(ValueError):
    """A file that is not in the POMDP format: file, line and column, what is there, and what is wanted."""


class Word(NamedTuple):
    """A word and its place.

    Args:
        text: the word; "" at the end of the file.
        start: index of its first character in the text.
    """

    text: str
    start: int

    @property
    def is_number(self) -> bool:
        """Whether the word is a number, with or without a fraction."""
        return bool(self.text) and (self.text[0].isdigit() or self.text[0] in "+-.")

    @property
    def is_index(self) -> bool:
        """Whether the word is a whole number from 0 on."""
        return self.text.isascii() and self.text.isdigit()

    @property
    def is_name(self) -> bool:
        """Whether the word may name a state, an action or an observation."""
        return self.text[:1].isalpha() and self.text not in KEYWORDS


class Words:
    """The words of a text in order, of which the next one can be looked at before it is taken.

    Args:
        text: of the file.
        file: its name, for messages.

    Raises:
        PomdpSyntaxError: characters that begin no word.
    """

    def __init__(self, text: str, file: str):
        self.text, self.file, self.position = text, file, 0
        self.words: list[Word] = []
        for found in WORD.finditer(text):
            if found["wrong"]:
                wrong = Word(found["wrong"], found.start())
                raise self.error(wrong, "a number, or a name of letters, digits, _ and - that begins with a letter")
            if found["word"]:
                self.words.append(Word(found["word"], found.start()))
        self.words.append(Word("", len(text.rstrip())))

    def peek(self, ahead: int = 0) -> Word:
        """The next word, or one after it; the end of the file has the text "".

        Args:
            ahead: number of words in between.
        """
        return self.words[min(self.position + ahead, len(self.words) - 1)]

    def take(self) -> Word:
        """The next word, which is then behind us."""
        word = self.peek()
        self.position += 1
        return word

    def expect(self, text: str) -> Word:
        """Takes a word that must be there.

        Args:
            text: of the word.

        Raises:
            PomdpSyntaxError: another word is there.
        """
        if self.peek().text != text:
            raise self.error(self.peek(), f"{text!r}")
        return self.take()

    def index(self, names: dict[str, int], kind: str) -> int:
        """Takes a name, or a number from 0 on, and returns its index.

        Args:
            names: index by name.
            kind: of the names: "state", "action" or "observation".

        Raises:
            PomdpSyntaxError: no such name or number.
        """
        word = self.peek()
        if word.is_index and int(word.text) < len(names):
            return int(self.take().text)
        if word.text not in names:
            raise self.error(word, f"{_listed(kind, names)}, or a number from 0 to {len(names) - 1}")
        return names[self.take().text]

    def numbers(self, count: int, what: str) -> np.ndarray:
        """Takes so many numbers.

        Args:
            count: how many.
            what: they are, for the message.

        Raises:
            PomdpSyntaxError: fewer numbers, or one that a float64 cannot hold.
        """
        found = []
        for i in range(count):
            word = self.peek()
            if not word.is_number:
                raise self.error(word, f"number {i + 1} of {count}: {what}")
            if not math.isfinite(float(word.text)):
                raise self.error(word, "a number of at most 1.8e308")
            found.append(float(self.take().text))
        return np.array(found)

    def line_of(self, word: Word) -> int:
        """The line of a word, from 1 on."""
        return self.text.count("\n", 0, word.start) + 1

    def error(self, word: Word, wanted: str) -> PomdpSyntaxError:
        """The error that a word is not the wanted one.

        Args:
            word: that is there.
            wanted: instead.
        """
        column = word.start - (self.text.rfind("\n", 0, word.start) + 1) + 1
        got = repr(word.text) if word.text else END
        return PomdpSyntaxError(f"{self.file}, line {self.line_of(word)}, column {column}: got {got}, want {wanted}")


def _listed(kind: str, names: dict[str, int]) -> str:
    """The first names of a kind: `state tiger-left or tiger-right`."""
    known = list(names)
    return f"{kind} {', '.join(known[:6])}" + (", ..." if len(known) > 6 else "")
