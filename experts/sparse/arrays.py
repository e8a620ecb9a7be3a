"""The arrays of sparse memories, and how they are changed: few slots at a time, in place or in copies.

Each function is written once. In place, on storage without a graph, it is the forward pass of the functions in
`experts.sparse.autograd`. With copies it is differentiated by autograd: under `torch.func`, and as their oracle.

The slots of a store belong to episodes that start one after the other: a slot whose stamp is below the store's `start`
was last used in an earlier episode. It is *stale*: it counts as zeros, and is zeroed where it is touched. So the start
of an episode costs nothing.

Shapes: S stores, R slots, W slot size, M heads that write, L slots written by a head, n any number of slots.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from experts.dnc.addressing import EPS

EMPTY_SCALE = EPS**-0.5
"""One over the norm of a slot of zeros."""


class Ops(NamedTuple):
    """How arrays are changed: in place, or in a copy. `zero(array, rows, mask)` zeroes the masked slots of some."""

    zero: Callable[[Tensor, Tensor, Tensor], Tensor]
    scatter: Callable[..., Tensor]
    scatter_add: Callable[..., Tensor]
    scatter_reduce: Callable[..., Tensor]


class Arrays(NamedTuple):
    """The slots of S stores.

    Args:
        memory: (S, R, W), the content.
        scale: (S, R), one over sqrt(|slot|^2 + 1e-6).
        stamp: (S, R), when each slot was last used; larger is later, and no two are equal.
        links: (S, R, .) each, further numbers of each slot, which are zeroed with it; `experts.sparse.links`.
    """

    memory: Tensor
    scale: Tensor
    stamp: Tensor
    links: tuple[Tensor, ...] = ()

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All arrays."""
        return self.memory, self.scale, self.stamp, *self.links

    @classmethod
    def of(cls, tensors: "tuple[Tensor, ...]") -> "Arrays":
        """From all arrays."""
        memory, scale, stamp, *links = tensors
        return cls(memory, scale, stamp, tuple(links))


class Undo(NamedTuple):
    """What a change overwrote: `old` (S, n, ...) stood at `rows` (S, n) of the array of this number."""

    number: int
    rows: Tensor
    old: Tensor


def wide(rows: Tensor, array: Tensor) -> Tensor:
    """Indices (S, ...) of slots for gather and scatter along axis 1 of an array, (S, n) or (S, n, W)."""
    rows = rows.flatten(1)
    return rows if array.dim() == 2 else rows.unsqueeze(-1).expand(-1, -1, array.shape[-1])


def take(array: Tensor, rows: Tensor) -> Tensor:
    """Slots (S, ...) of an array, (S, ...) or (S, ..., W)."""
    return array.gather(1, wide(rows, array)).unflatten(1, rows.shape[1:])


def keep(undo: list[Undo], arrays: Arrays, number: int, rows: Tensor) -> None:
    """Notes what stands at some slots of an array."""
    array, rows = arrays.tensors[number].detach(), rows.flatten(1)
    undo.append(Undo(number, rows, array.gather(1, wide(rows, array))))


def _zero_in_place(array: Tensor, rows: Tensor, mask: Tensor) -> Tensor:
    index = wide(rows, array)
    mask = mask.flatten(1) if array.dim() == 2 else mask.flatten(1).unsqueeze(-1)
    return array.scatter_(1, index, torch.where(mask, 0, array.gather(1, index)))


def _zero_copying(array: Tensor, rows: Tensor, mask: Tensor) -> Tensor:
    one = array[..., 0] if array.dim() == 3 else array
    hits = torch.zeros_like(one).scatter_add(1, rows.flatten(1), mask.flatten(1).to(array.dtype)) > 0
    return torch.where(hits if array.dim() == 2 else hits.unsqueeze(-1), 0, array)


IN_PLACE = Ops(_zero_in_place, Tensor.scatter_, Tensor.scatter_add_, Tensor.scatter_reduce_)
COPYING = Ops(_zero_copying, Tensor.scatter, Tensor.scatter_add, Tensor.scatter_reduce)


def clean(
    ops: Ops, arrays: Arrays, rows: Tensor, start: Tensor | None, undo: list[Undo]
) -> tuple[Arrays, Tensor | None]:
    """Zeroes the stale ones of some slots, and stamps them with the first stamps of the episode.

    Args:
        ops: how the arrays are changed.
        arrays: the slots.
        rows: (S, ...).
        start: (S,), the first stamp of the present episode; None: no slot is stale.
        undo: notes what is overwritten.

    Returns:
        The arrays, and which of the slots were stale; None: none was.
    """
    if start is None:
        return arrays, None
    stale = take(arrays.stamp, rows) < start.view(-1, *[1] * (rows.dim() - 1))
    for number in range(len(arrays.tensors)):
        keep(undo, arrays, number, rows)
    flat, scale = rows.flatten(1), take(arrays.scale, rows)
    cleaned = Arrays(
        ops.zero(arrays.memory, rows, stale),
        ops.scatter(arrays.scale, 1, flat, torch.where(stale, EMPTY_SCALE, scale).flatten(1)),
        ops.scatter_reduce(arrays.stamp, 1, flat, start.unsqueeze(-1) + flat, "amax"),
        tuple(ops.zero(link, rows, stale) for link in arrays.links),
    )
    return cleaned, stale


def write(
    ops: Ops, arrays: Arrays, rows: Tensor, erases: Tensor, weights: Tensor, add: Tensor, undo: list[Undo]
) -> Arrays:
    """Zeroes the last of the slots of each head, and adds its vector to all of them.

    Args:
        ops: how the arrays are changed.
        arrays: the slots.
        rows: (S, M, L); the last ones are different for each head.
        erases: (S, M), heads that erase.
        weights: (S, M, L).
        add: (S, M, W).
        undo: notes what is overwritten.
    """
    keep(undo, arrays, 0, rows)
    keep(undo, arrays, 1, rows)
    memory = ops.zero(arrays.memory, rows[..., -1], erases)
    vectors = (weights.unsqueeze(-1) * add.unsqueeze(-2)).flatten(1, 2)
    memory = ops.scatter_add(memory, 1, wide(rows, memory), vectors)
    scale = (take(memory.detach(), rows.flatten(1)).square().sum(-1) + EPS).rsqrt()
    return arrays._replace(memory=memory, scale=ops.scatter(arrays.scale, 1, rows.flatten(1), scale))


def mark_used(ops: Ops, arrays: Arrays, rows: Tensor, used: Tensor, clock: int, undo: list[Undo]) -> Arrays:
    """Stamps the used ones of some slots.

    Args:
        ops: how the arrays are changed.
        arrays: the slots, none of `rows` stale.
        rows: (S, n).
        used: (S, n).
        clock: number of the write; even multiples of R are the first stamps of episodes.
        undo: notes what is overwritten.
    """
    keep(undo, arrays, 2, rows)
    now = torch.where(used, (2 * clock + 1) * arrays.stamp.shape[1] + rows, arrays.stamp.gather(1, rows))
    return arrays._replace(stamp=ops.scatter_reduce(arrays.stamp, 1, rows, now, "amax"))
