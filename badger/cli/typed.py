"""Flags as they were typed, and errors that name them: `outer_steps=0, want` becomes `--outer-steps 0: want`."""

import ast
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

MAX_LENGTH = 60  # of a flag and its values in a message
VALUE = r"""'[^']*'|"[^"]*"|\([^()]*\)|\[[^][]*\]|[^\s,:;]+"""  # as Python prints it


@dataclass(frozen=True)
class TypedFlag:
    """A flag and its values on the command line, `--experts 2 4` or `--experts=2`.

    Args:
        word: the flag.
        values: what follows it, up to the next flag.
        start: position of the flag among the words.
        stop: position after its last value.
    """

    word: str
    values: tuple[str, ...]
    start: int
    stop: int

    @property
    def name(self) -> str:
        """The name of the option: `--core.top-k` and `--core.no-gate` are `core.top_k` and `core.gate`."""
        flag, dot, option = self.word.removeprefix("--").replace("-", "_").rpartition(".")
        return f"{flag}{dot}{option.removeprefix('no_')}"

    def __str__(self) -> str:
        text = shlex.join([self.word, *self.values])
        return text if len(text) <= MAX_LENGTH else f"{text[: MAX_LENGTH - 3]}..."

    def removed_from(self, words: Sequence[str]) -> list[str]:
        """The words without this flag and its values.

        Args:
            words: the command line.
        """
        return [*words[: self.start], *words[self.stop :]]


def typed_flags(words: Sequence[str]) -> list[TypedFlag]:
    """The flags of a command line, in order.

    Args:
        words: the command line.
    """
    starts = [i for i, word in enumerate(words) if word.startswith("--")]
    flags = []
    for start, stop in pairwise([*starts, len(words)]):
        word, equals, value = words[start].partition("=")
        stop = start + 1 if equals else stop
        values = [value] * bool(equals) + list(words[start + 1 : stop])
        flags.append(TypedFlag(word, tuple(values), start, stop))
    return flags


def name_flags(message: str, words: Sequence[str]) -> str:
    """An error message that names flags and values as they were typed.

    Args:
        message: of the error; a name that was not typed stays as it is.
        words: the command line.
    """
    typed = typed_flags(words)
    flags = {flag.name.rpartition(".")[2]: flag for flag in typed} | {flag.name: flag for flag in typed}
    if not flags:
        return message
    names = "|".join(map(re.escape, sorted(flags, key=len, reverse=True)))

    def replaced(found: re.Match[str]) -> str:
        flag = flags[found["name"]]
        shown = str(flag) if _same(found["value"], flag.values) else f"{flag.word} {found['value']}"
        return shown + (": want" if found["want"] else "")

    return re.sub(rf"(?<![\w.-])(?P<name>{names})=(?P<value>{VALUE})(?P<want>, want)?", replaced, message)


def names_a_flag(message: str, words: Sequence[str]) -> bool:
    """Whether a message names one of the flags that were typed.

    Args:
        message: of an error.
        words: the command line.
    """
    return any(re.search(rf"{re.escape(flag.word)}(?![\w.-])", message) for flag in typed_flags(words))


def without_value(message: str, flag: TypedFlag) -> str:
    """A message without the value at its start, `steps=0, want`, where that is what was typed for the flag.

    Args:
        message: of an error.
        flag: its cause, under another name.
    """
    found = re.match(rf"[\w.]+=(?P<value>{VALUE}), (?=want)", message)
    return message[found.end() :] if found and _same(found["value"], flag.values) else message


def _same(printed: str, typed: Sequence[str]) -> bool:
    """Whether a value that an error prints is the value that was typed."""
    values, value = tuple(map(_literal, typed or ("True",))), _literal(printed)  # a switch is typed without a value
    return value in (values, list(values)) or (len(values) == 1 and value in (*values, *typed))


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
