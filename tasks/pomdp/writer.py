"""Writes a model in Cassandra's POMDP format, so that reading the text gives an equal model."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tasks.pomdp.model import PomdpModel


def write_pomdp(model: PomdpModel, file: str | os.PathLike[str]) -> None:
    """Writes a model to a file in Cassandra's POMDP format.

    Args:
        model: what is written.
        file: its path.
    """
    Path(file).write_text(format_pomdp(model), encoding="utf-8")


def format_pomdp(model: PomdpModel) -> str:
    """A model as a text in Cassandra's POMDP format; numbers have as many digits as they need.

    Args:
        model: what is written.
    """
    return "\n".join(_lines(model)) + "\n"


def _lines(model: PomdpModel) -> Iterator[str]:
    yield f"discount: {model.discount!r}"
    yield "values: reward"
    for kind in ("states", "actions", "observations"):
        names = getattr(model, kind)
        numbered = names == tuple(map(str, range(len(names))))
        yield f"{kind}: {len(names) if numbered else ' '.join(names)}"
    yield f"\nstart: {_row(model.start)}"
    for letter, table in (("T", model.transition), ("O", model.observation)):
        for action, matrix in _by_action(model, table):
            yield f"\n{letter}: {action}"
            yield from map(_row, matrix)
    for action, matrices in _by_action(model, model.reward):
        for state, matrix in zip(model.states, matrices, strict=True):
            yield from _reward_lines(f"R: {action} : {state}", model.states, matrix)


def _by_action(model: PomdpModel, table: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """The parts of a table by action; one part, of `*`, where all are equal."""
    if all(np.array_equal(part, table[0]) for part in table):
        yield "*", table[0]
    else:
        yield from zip(model.actions, table, strict=True)


def _reward_lines(place: str, states: tuple[str, ...], matrix: np.ndarray) -> Iterator[str]:
    """The rewards of an action in a state, over the next state and the observation; zeros are left out."""
    if (matrix == matrix[0, 0]).all():
        if matrix[0, 0]:
            yield f"{place} : * : * {_number(matrix[0, 0])}"
    elif (matrix == matrix[:, :1]).all():
        yield from (f"{place} : {s} : * {_number(row[0])}" for s, row in zip(states, matrix, strict=True) if row[0])
    else:
        yield place
        yield from map(_row, matrix)


def _row(numbers: np.ndarray) -> str:
    return " ".join(map(_number, numbers))


def _number(number: float) -> str:
    return repr(float(number))
