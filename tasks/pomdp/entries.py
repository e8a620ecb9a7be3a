"""Entries of T, O and R of a file in the POMDP format: a number, a row or a matrix for named or all (`*`) indices."""

from typing import NamedTuple

import numpy as np

from tasks.pomdp.model import first_wrong_row
from tasks.pomdp.tokens import Word, Words

MAX_BYTES = 2**31  # of a table


class Table(NamedTuple):
    """The form of one of the tables.

    Args:
        axes: kinds of its axes, by which its entries are indexed.
        fewest: indices that an entry has at least; the others are a row or a matrix of numbers.
    """

    axes: tuple[str, ...]
    fewest: int


TABLES = {
    "T": Table(("action", "state", "state"), 1),
    "O": Table(("action", "state", "observation"), 1),
    "R": Table(("action", "state", "state", "observation"), 2),
}
Index = int | slice


class Tables:
    """T, O and R while the entries of a file are read.

    The reward is kept as a list of entries, so that its table has only the axes on which it depends.

    Args:
        words: of the file.
        names: indices by name of states, actions and observations.
        start: the distribution of the first state, for `reset`.

    Raises:
        PomdpSyntaxError: a table that would not fit into 2 GiB.
    """

    def __init__(self, words: Words, names: dict[str, dict[str, int]], start: np.ndarray):
        self.words, self.names, self.start = words, names, start
        for name in "TO":
            self._check_size(name, self.shape(name))
        self.transition, self.observation = np.zeros(self.shape("T")), np.zeros(self.shape("O"))
        self.lines = {name: np.zeros(self.shape(name)[:2], dtype=np.int64) for name in "TO"}  # that set a row last
        self.rewards: list[tuple[tuple[Index, ...], np.ndarray]] = []

    def shape(self, table: str) -> tuple[int, ...]:
        """The shape of T, O or R.

        Args:
            table: its name.
        """
        return tuple(len(self.names[f"{axis}s"]) for axis in TABLES[table].axes)

    def set(self, table: str, index: tuple[Index, ...], values: np.ndarray, word: Word) -> None:
        """Sets the entries of an index.

        Args:
            table: T, O or R.
            index: an integer or all, for each of the first axes.
            values: a number, or an array over the other axes.
            word: at which the entry begins.
        """
        if table == "R":
            self.rewards.append((index, values))
        else:
            (self.transition if table == "T" else self.observation)[index] = values
            self.lines[table][index[:2]] = self.words.line_of(word)

    def reward(self) -> np.ndarray:
        """R, with length 1 on axes on which no entry depends.

        Raises:
            PomdpSyntaxError: a table that would not fit into 2 GiB.
        """
        full = self.shape("R")
        needed = [
            any(len(index) <= axis or not isinstance(index[axis], slice) for index, _ in self.rewards)
            for axis in range(len(full))
        ]
        shape = tuple(n if need else 1 for n, need in zip(full, needed, strict=True))
        self._check_size("R", shape)
        table = np.zeros(shape)
        for index, values in self.rewards:
            table[index] = values
        return table

    def check_sums(self) -> None:
        """Checks that the rows of T and O are distributions.

        Raises:
            ValueError: one that is not, with its line, action, state and sum.
        """
        actions, states = list(self.names["actions"]), list(self.names["states"])
        for name, table in (("T", self.transition), ("O", self.observation)):
            found = first_wrong_row(table)
            if found is not None:
                a, s, problem = found
                line = self.lines[name][a, s]
                where = f", line {line}" if line else ""
                unset = "" if line else "; no entry sets it"
                raise ValueError(f"{self.words.file}{where}: {name}: {actions[a]} : {states[s]} {problem}{unset}")

    def _check_size(self, table: str, shape: tuple[int, ...]) -> None:
        size = 8
        for n in shape:
            size *= n
        if size > MAX_BYTES:
            raise self.words.error(
                self.words.peek(),
                f"a model of fewer states: the table {table} {shape} would take {size / 2**30:.3g} GiB",
            )


def read_entry(words: Words, tables: Tables) -> None:
    """Reads one entry, such as `T: listen : tiger-left` and a row of numbers, into the tables.

    Args:
        words: of the file, of which the next one begins an entry.
        tables: which are changed.

    Raises:
        PomdpSyntaxError: no entry, or one that is not complete.
    """
    first = words.peek()
    if first.text not in TABLES:
        more = "; the entry before it has all its numbers" if first.is_number else ""
        raise words.error(first, f"an entry that begins with T, O or R{more}")
    table = TABLES[words.take().text]
    index: list[Index] = []
    while len(index) < len(table.axes) and words.peek().text == ":":
        words.take()
        index.append(_read_index(words, tables, table.axes[len(index)]))
    if len(index) < table.fewest:
        kinds = " : ".join(f"{axis.upper()}" for axis in table.axes[: table.fewest])
        raise words.error(words.peek(), f"':', as in {first.text}: {kinds}")
    tables.set(first.text, tuple(index), _read_values(words, tables, first.text, len(index)), first)


def _read_index(words: Words, tables: Tables, axis: str) -> Index:
    """An index of an axis, or all of them for `*`."""
    if words.peek().text == "*":
        words.take()
        return slice(None)
    return words.index(tables.names[f"{axis}s"], axis)


def _read_values(words: Words, tables: Tables, table: str, given: int) -> np.ndarray:
    """The values of the axes that are not indexed: numbers, or a word that stands for them."""
    shape, word = tables.shape(table)[given:], words.peek()
    keywords = _keywords(table, shape, tables.start)
    if word.text in keywords:
        words.take()
        return keywords[word.text]
    size = int(np.prod(shape, dtype=np.int64))
    form = ("a number", "a row of {}", "a matrix of {} x {}")[len(shape)].format(*shape)
    instead = "".join(f", or {name}" for name in keywords)
    return words.numbers(size, f"{table} with {given} indices wants {form}{instead}").reshape(shape)


def _keywords(table: str, shape: tuple[int, ...], start: np.ndarray) -> dict[str, np.ndarray]:
    """The words that may stand for numbers, with these."""
    if table == "R" or not shape:
        return {}
    found = {"uniform": np.full(shape, 1 / shape[-1])}
    if table == "T":
        found |= {"identity": np.eye(shape[0])} if len(shape) == 2 else {"reset": start}
    return found
