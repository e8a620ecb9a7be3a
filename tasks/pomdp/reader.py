"""Reads files in Cassandra's POMDP format: the preamble, the start distribution, then entries of T, O and R."""

import os
from pathlib import Path

import numpy as np

from tasks.pomdp.entries import Tables, read_entry
from tasks.pomdp.model import PomdpModel, check_names
from tasks.pomdp.tokens import PomdpSyntaxError, Word, Words

MOST = 100_000  # of states, actions or observations
PREAMBLE = ("discount", "values", "states", "actions", "observations")


def read_pomdp(file: str | os.PathLike[str]) -> PomdpModel:
    """Reads a file in Cassandra's POMDP format.

    Args:
        file: its path.

    Raises:
        OSError: a file that cannot be read.
        ValueError: a file that is not in the format, with line and column, what is there and what is wanted; or a
            distribution that does not sum to 1 within 1e-5, with state, action and sum.
    """
    try:
        text = Path(file).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise PomdpSyntaxError(f"{file}: byte {error.start} is no UTF-8, want a text in the POMDP format") from error
    return parse_pomdp(text, str(file))


def parse_pomdp(text: str, file: str = "text") -> PomdpModel:
    """The model that a text in Cassandra's POMDP format describes.

    Costs (`values: cost`) become negative rewards. Entries that come later replace earlier ones. Without `start` the
    first state is uniform.

    Args:
        text: the content of a file.
        file: its name, for messages.

    Raises:
        ValueError: as `read_pomdp`.

    Source: A. R. Cassandra, POMDP file format, https://www.pomdp.org/code/pomdp-file-spec.html.
    """
    words = Words(text, file)
    discount, sign, names = _read_preamble(words)
    start = _read_start(words, names["states"])
    tables = Tables(words, names, start)
    while words.peek().text:
        read_entry(words, tables)
    tables.check_sums()
    return PomdpModel(
        **{kind: tuple(found) for kind, found in names.items()},
        discount=discount,
        transition=tables.transition,
        observation=tables.observation,
        reward=sign * tables.reward(),
        start=start,
    )


def _read_preamble(words: Words) -> tuple[float, float, dict[str, dict[str, int]]]:
    """Discount, 1 for rewards or -1 for costs, and the indices by name of states, actions and observations."""
    found: dict[str, object] = {}
    while words.peek().text in PREAMBLE:
        key = words.take()
        if key.text in found:
            raise words.error(key, f"{key.text!r} once; it is there twice")
        words.expect(":")
        found[key.text] = _read_value(words, key)
    missing = [key for key in PREAMBLE if key not in found and key != "values"]
    if missing:
        raise words.error(words.peek(), f"the preamble first, in which {missing[0]!r} is missing")
    names: dict[str, dict[str, int]] = {key: found[key] for key in PREAMBLE[2:]}  # type: ignore[misc]
    return float(found["discount"]), float(found.get("values", 1.0)), names  # type: ignore[arg-type]


def _read_value(words: Words, key: Word) -> float | dict[str, int]:
    """The value of a line of the preamble."""
    first = words.peek()
    if key.text == "discount":
        if not first.is_number or not 0 <= float(first.text) <= 1:
            raise words.error(first, "a discount from 0 to 1")
        return float(words.take().text)
    if key.text == "values":
        if first.text not in ("reward", "cost"):
            raise words.error(first, "reward or cost")
        return 1.0 if words.take().text == "reward" else -1.0
    if first.is_number:
        if not first.is_index or int(first.text) < 1:
            raise words.error(first, f"a whole number of {key.text} from 1 on, or their names")
        if int(first.text) > MOST:
            raise words.error(first, f"at most {MOST} {key.text}")
        return {str(i): i for i in range(int(words.take().text))}
    found: list[str] = []
    while words.peek().is_name:
        name = words.take()
        if name.text in found:
            raise words.error(name, f"another name; two {key.text} have this one")
        found.append(name.text)
    if not found:
        raise words.error(first, f"the number of {key.text}, or their names")
    check_names(key.text, tuple(found))
    return {name: i for i, name in enumerate(found)}


def _read_start(words: Words, states: dict[str, int]) -> np.ndarray:
    """The distribution of the first state, in any of the forms that the format has."""
    count = len(states)
    if words.peek().text != "start":
        return np.full(count, 1 / count)
    place = words.take()
    if words.peek().text in ("include", "exclude"):
        chosen = _read_subset(words, states)
        return chosen / chosen.sum()
    words.expect(":")
    first = words.peek()
    if first.text == "uniform":
        words.take()
        return np.full(count, 1 / count)
    numbers = 0
    while words.peek(numbers).is_number:
        numbers += 1
    if first.is_name or (numbers == 1 and (count > 1 or first.text == "0")):
        return np.eye(count)[words.index(states, "state")]
    start = words.numbers(count, "the probabilities of the first state")
    if start.min() < 0 or abs(start.sum() - 1) > 1e-5:
        raise words.error(place, f"probabilities that sum to 1 within 1e-05, their sum is {start.sum():g}")
    return start


def _read_subset(words: Words, states: dict[str, int]) -> np.ndarray:
    """1 for the states that `start include:` names, or that `start exclude:` does not; else 0."""
    kind = words.take()
    words.expect(":")
    listed = np.zeros(len(states))
    first = words.peek()
    while words.peek().is_name or words.peek().is_number:
        listed[words.index(states, "state")] = 1
    if not listed.any():
        raise words.error(first, f"states to {kind.text}")
    if kind.text == "exclude" and listed.all():
        raise words.error(kind, "at least one state that is not excluded")
    return listed if kind.text == "include" else 1 - listed
