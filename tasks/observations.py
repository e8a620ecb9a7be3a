"""Parts of a flat observation: which of its numbers are a vector, a symbol, an image or a text.

This module also runs in worker processes; it does not import torch.
"""

import math
from collections.abc import Iterable
from typing import Literal, NamedTuple


class ObsPart(NamedTuple):
    """A part of a flat observation, for senses that treat parts differently; the parts follow each other.

    Args:
        kind: "vector": real numbers; "one_hot": symbols and flags, 0 or 1; "image": pixels; "text": counts of words.
        shape: of the part before it was flattened.
        name: where the part is in the observation of the environment, such as "['image']"; "" for all of it.
        layout: the axes of an image: a subset of N (stacked frames), C (channels), H and W, such as "HWC"; else "".
        low: the smallest value of a pixel.
        high: the largest value of a pixel.
        whole: the pixels are whole numbers from 0 to 255.
    """

    kind: Literal["vector", "one_hot", "image", "text"]
    shape: tuple[int, ...]
    name: str = ""
    layout: str = ""
    low: float = 0.0
    high: float = 1.0
    whole: bool = False

    @property
    def size(self) -> int:
        """The number of components."""
        return math.prod(self.shape)


def part_index(parts: Iterable[ObsPart], name: str) -> int | None:
    """The index of the first number of a part of an observation; None where no part has that name.

    Args:
        parts: of the observation, in their order.
        name: of the part.
    """
    start = 0
    for part in parts:
        if part.name == name:
            return start
        start += part.size
    return None


def fit_bytes(parts: Iterable[ObsPart]) -> bool:
    """Whether each number of an observation is a whole one from 0 to 255, so that a byte holds it without loss.

    Args:
        parts: of the observation.
    """
    return all(part.kind == "one_hot" or part.whole for part in parts)


def visible_parts(parts: tuple[ObsPart, ...], visible: list[int]) -> tuple[ObsPart, ...]:
    """The parts of an observation of which some components are hidden.

    A part that loses some of its components becomes a plain vector, or remains symbols; one that loses all is left out.

    Args:
        parts: of the whole observation.
        visible: the indices of the components that are left.
    """
    kept, start, seen = [], 0, set(visible)
    for part in parts:
        left = len(seen.intersection(range(start, start + part.size)))
        start += part.size
        if left == part.size:
            kept.append(part)
        elif left:
            kept.append(ObsPart("one_hot" if part.kind == "one_hot" else "vector", (left,), part.name))
    return tuple(kept)
