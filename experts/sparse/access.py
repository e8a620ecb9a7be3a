"""One access to a sparse memory: a write to few slots, and a read of the most similar few (Rae et al. 2016).

`access` is written once. In place, on storage without a graph, it is the forward pass of
`experts.sparse.access_autograd.AccessFunction`, whose backward pass touches the same few slots. With copies it is
differentiated by autograd: under `torch.func`, and as the oracle of the backward pass.

The slots of a store belong to episodes that start one after the other: a slot whose stamp is below the store's `start`
was last used in an earlier episode. It is *stale*: it counts as zeros, and is zeroed where it is touched. So the start
of an episode costs nothing.

Shapes: S stores, R slots, W slot size, M heads of all members, K slots read by a head, L = K + 1 slots written by it.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from experts.dnc.addressing import EPS
from experts.sparse.search import nearest, top_k


class Ops(NamedTuple):
    """How arrays are changed: in place, or in a copy. `zero(memory, index, mask)` zeroes the masked slots of some."""

    zero: Callable[[Tensor, Tensor, Tensor], Tensor]
    scatter: Callable[..., Tensor]
    scatter_add: Callable[..., Tensor]
    scatter_reduce: Callable[..., Tensor]


def _zero_in_place(memory: Tensor, index: Tensor, mask: Tensor) -> Tensor:
    rows = wide(index, memory.shape[-1])
    return memory.scatter_(1, rows, torch.where(mask.flatten(1).unsqueeze(-1), 0, memory.gather(1, rows)))


def _zero_copying(memory: Tensor, index: Tensor, mask: Tensor) -> Tensor:
    hits = torch.zeros_like(memory[..., 0]).scatter_add(1, index.flatten(1), mask.flatten(1).to(memory.dtype))
    return torch.where((hits > 0).unsqueeze(-1), 0, memory)


IN_PLACE = Ops(_zero_in_place, Tensor.scatter_, Tensor.scatter_add_, Tensor.scatter_reduce_)
COPYING = Ops(_zero_copying, Tensor.scatter, Tensor.scatter_add, Tensor.scatter_reduce)


class Arrays(NamedTuple):
    """The slots of S stores.

    Args:
        memory: (S, R, W), the content.
        scale: (S, R), one over sqrt(|slot|^2 + 1e-6).
        stamp: (S, R), when each slot was last used; larger is later, and no two are equal.
    """

    memory: Tensor
    scale: Tensor
    stamp: Tensor


class Request(NamedTuple):
    """What an access does that has no gradient.

    Args:
        previous: (S, M, K), the slots that each head read last.
        active: (S, M), heads that write and use slots; None: all.
        start: (S,), the first stamp of the present episode; None: no slot is stale.
        clock: the number of this access; a slot used now is stamped clock * R + its index.
        threshold: a slot is used by a head that reads and writes it with weights of a larger sum.
    """

    previous: Tensor
    active: Tensor | None
    start: Tensor | None
    clock: int
    threshold: float


class Undo(NamedTuple):
    """What an access overwrote: `old` stood at `rows` (S, n) of the array of this number."""

    array: int
    rows: Tensor
    old: Tensor


class Access(NamedTuple):
    """The result of an access.

    Args:
        read: (S, M, W), the read vectors.
        weights: (S, M, K), of the slots read.
        found: (S, M, K), the slots read.
        written: (S, M, L), the slots written: those read last, and the least recently used one.
        content: (S, M, K, W), of the slots read.
        stale_written: (S, M, L), slots written that were stale; None: none was.
        stale_read: (S, M, K), slots read that were stale; None: none was.
    """

    read: Tensor
    weights: Tensor
    found: Tensor
    written: Tensor
    content: Tensor
    stale_written: Tensor | None
    stale_read: Tensor | None


def access(
    ops: Ops, arrays: Arrays, request: Request, weights: Tensor, add: Tensor, query: Tensor, strength: Tensor
) -> tuple[Arrays, Access, list[Undo]]:
    """Erases the least recently used slot of each head, writes, then reads.

    Args:
        ops: how the arrays are changed.
        arrays: the slots.
        request: which slots are written.
        weights: (S, M, L), of the writes; 0 for heads that are not active.
        add: (S, M, W), what each head writes.
        query: (S, M, W).
        strength: (S, M), of the cosine similarity.
    """
    undo: list[Undo] = []
    written = torch.cat([request.previous, least_recently_used(arrays.stamp, request).unsqueeze(-1)], -1)
    arrays, stale_written = _clean(ops, arrays, written, request, undo)
    arrays = _write(ops, arrays, written, request, weights, add, undo)
    with torch.no_grad():
        stale = None if request.start is None else arrays.stamp < request.start.unsqueeze(-1)
        index = nearest(query, arrays.memory, arrays.scale, request.previous.shape[-1], stale)
    arrays, stale_read = _clean(ops, arrays, index, request, undo)
    content = gather(arrays.memory, index)
    read_weights, _, _ = similarity_weights(query, strength, content)
    read = (read_weights.unsqueeze(-2) @ content).squeeze(-2)
    arrays = _stamp(ops, arrays, request, (written, weights), (index, read_weights), undo)
    return arrays, Access(read, read_weights, index, written, content, stale_written, stale_read), undo


def similarity_weights(
    query: Tensor, strength: Tensor, content: Tensor
) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
    """Softmax over the slots read of strength times cosine similarity; the cosines; one over the norms of both.

    Args:
        query: (S, M, W).
        strength: (S, M).
        content: (S, M, K, W).
    """
    norms = (query.square().sum(-1, keepdim=True) + EPS).rsqrt(), (content.square().sum(-1) + EPS).rsqrt()
    cosine = (content @ query.unsqueeze(-1)).squeeze(-1) * norms[0] * norms[1]
    return torch.softmax(cosine * strength.unsqueeze(-1), -1), cosine, norms


def least_recently_used(stamp: Tensor, request: Request) -> Tensor:
    """The slots (S, M) that were used longest ago, a different one for each head, in the order of the active heads."""
    heads = request.previous.shape[1]
    if request.start is not None:
        order = request.start.unsqueeze(-1) + torch.arange(stamp.shape[1], device=stamp.device)
        stamp = torch.where(stamp < request.start.unsqueeze(-1), order, stamp)
    oldest = top_k(-stamp.unsqueeze(-1), heads).squeeze(1)
    oldest = oldest.gather(-1, stamp.gather(-1, oldest).argsort(-1))
    if request.active is None:
        return oldest
    active_first = (~request.active).to(torch.uint8).argsort(dim=-1, stable=True)
    return torch.empty_like(oldest).scatter(-1, active_first, oldest)


def wide(index: Tensor, width: int) -> Tensor:
    """Indices (S, ...) of slots as indices (S, n, W) of all their numbers, for gather and scatter along axis 1."""
    return index.flatten(1).unsqueeze(-1).expand(-1, -1, width)


def gather(memory: Tensor, index: Tensor) -> Tensor:
    """The content (S, M, K, W) of slots (S, M, K)."""
    return memory.gather(1, wide(index, memory.shape[-1])).unflatten(1, index.shape[1:])


def _clean(ops: Ops, arrays: Arrays, index: Tensor, request: Request, undo: list[Undo]) -> tuple[Arrays, Tensor | None]:
    """Zeroes the stale ones of some slots, and stamps them with the first stamps of the episode."""
    if request.start is None:
        return arrays, None
    rows, start = index.flatten(1), request.start.unsqueeze(-1)
    old_scale, old_stamp = arrays.scale.gather(1, rows), arrays.stamp.gather(1, rows)
    stale = old_stamp < start
    undo += [Undo(0, rows, _content(arrays.memory, rows)), Undo(1, rows, old_scale), Undo(2, rows, old_stamp)]
    memory = ops.zero(arrays.memory, rows, stale)
    scale = ops.scatter(arrays.scale, 1, rows, torch.where(stale, EPS**-0.5, old_scale))
    stamp = ops.scatter_reduce(arrays.stamp, 1, rows, start + rows, "amax")
    return Arrays(memory, scale, stamp), stale.view(index.shape)


def erases(written: Tensor, active: Tensor | None) -> Tensor:
    """(S, M), the heads that erase the last of the slots that they write."""
    return torch.ones_like(written[..., 0], dtype=torch.bool) if active is None else active


def _content(memory: Tensor, rows: Tensor) -> Tensor:
    """The content (S, n, W) of slots (S, n), without gradient."""
    return memory.detach().gather(1, wide(rows, memory.shape[-1]))


def _write(
    ops: Ops, arrays: Arrays, written: Tensor, request: Request, weights: Tensor, add: Tensor, undo: list[Undo]
) -> Arrays:
    memory, scale, stamp = arrays
    erased, rows = written[..., -1], written.flatten(1)
    undo += [Undo(0, rows, _content(memory, rows)), Undo(1, rows, scale.gather(1, rows))]
    memory = ops.zero(memory, erased, erases(written, request.active))
    vectors = (weights.unsqueeze(-1) * add.unsqueeze(-2)).flatten(1, 2)
    memory = ops.scatter_add(memory, 1, wide(rows, memory.shape[-1]), vectors)
    new_scale = (_content(memory, rows).square().sum(-1) + EPS).rsqrt()
    return Arrays(memory, ops.scatter(scale, 1, rows, new_scale), stamp)


def _stamp(
    ops: Ops, arrays: Arrays, request: Request, write: tuple[Tensor, Tensor], read: tuple[Tensor, Tensor],
    undo: list[Undo],
) -> Arrays:  # fmt: skip
    """Stamps the slots that were used: those that a head reads and writes with weights above the threshold."""
    rows, weights = (torch.cat(parts, -1).detach() for parts in zip(write, read, strict=True))  # (S, M, L + K)
    same = rows.unsqueeze(-1) == rows.unsqueeze(-2)
    used = (same * weights.unsqueeze(-2)).sum(-1) > request.threshold
    if request.active is not None:
        used = used & request.active.unsqueeze(-1)
    rows, used = rows.flatten(1), used.flatten(1)
    slots = arrays.stamp.shape[1]
    old = arrays.stamp.gather(1, rows)
    undo.append(Undo(2, rows, old))
    now = torch.where(used, request.clock * slots + rows, old)
    return arrays._replace(stamp=ops.scatter_reduce(arrays.stamp, 1, rows, now, "amax"))
