"""Random numbers of some rows, the same as where all rows are in one process.

Axes: B episode, N row: an expert or an edge.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor


class Rows(NamedTuple):
    """Some of all experts, or of all edges.

    Args:
        total: the number of all.
        chosen: which of them.
    """

    total: int
    chosen: Int[Tensor, " N"]


def draw(
    sample: Callable[..., Tensor], like: Float[Tensor, "B N *_"], rng: torch.Generator | None, rows: Rows | None
) -> Float[Tensor, "B N *_"]:
    """Random numbers of a row each, drawn for all rows and then selected, so that every process draws the same.

    Args:
        sample: torch.rand or torch.randn.
        like: gives shape, device and dtype.
        rng: the generator, in the same state in all processes.
        rows: which rows these are; `like` has the first N of them. None: all.
    """
    shape = like.shape if rows is None else (like.shape[0], rows.total, *like.shape[2:])
    numbers = sample(shape, generator=rng, device=like.device, dtype=like.dtype)
    return numbers if rows is None else numbers.index_select(1, rows.chosen[: like.shape[1]])
