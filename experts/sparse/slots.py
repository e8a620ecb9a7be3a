"""Slots that are overwritten in place and are still values: a persistent array.

A write changes the one array of a history. The state before it keeps what was overwritten and a pointer to its
successor, so that an old state can be restored; no state points to an older one, so that what nobody can return to is
freed. A step from an old state copies the array and restores it. This is the persistent array of Baker 1991 ("Shallow
binding makes functional arrays fast"), and the undo of Sparse Access Memory (Rae et al. 2016, section 3.4).

Shapes: S stores, R slots, W slot size, M heads of all members, K slots read by a head, L = K + 1 slots written by it.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from experts.dnc.addressing import EPS
from experts.episodic.row_log_autograd import NewColumn, SliceColumn
from experts.sparse.approximate import IVF, Lists
from experts.sparse.arrays import (
    COPYING,
    EMPTY_SCALE,
    IN_PLACE,
    Arrays,
    Ops,
    Undo,
    clean,
    mark_used,
    take,
    wide,
    write,
)
from experts.sparse.autograd import ReadFunction, WriteFunction
from experts.sparse.links import no_links
from experts.sparse.search import nearest, smallest
from experts.state import Leaf, expand_mask
from experts.torch_internals import functorch_active, not_compiled


class _Version:
    """A point of a history: the arrays if it is the newest, else what the next write overwrote, and the next point."""

    __slots__ = ("arrays", "lists", "next", "undo")

    def __init__(self, arrays: Arrays | None):
        self.arrays = arrays
        self.lists = Lists()
        self.undo: list[Undo] = []
        self.next: _Version | None = None

    def restored(self) -> Arrays:
        """The arrays at this point: the newest ones themselves, or a copy of an old one."""
        if self.arrays is not None:
            return self.arrays
        records: list[list[Undo]] = []
        point: Any = self
        while point.arrays is None:
            records.append(point.undo)
            point = point.next
        arrays = Arrays.of(tuple(part.clone() for part in point.arrays.tensors))
        for record in reversed(records):
            for number, rows, old in reversed(record):
                array = arrays.tensors[number]
                array.scatter_(1, wide(rows, array), old)
        return arrays

    def overwritten(self, undo: list[Undo]) -> "_Version":
        """The next point, after a write in place that overwrote `undo`."""
        successor = _Version(self.arrays)
        successor.lists, self.lists = self.lists, successor.lists
        for record in undo:
            if record.number == 0:
                successor.lists.note(record.rows)
        self.arrays, self.undo, self.next = None, undo, successor
        return successor


class Slots(Leaf):
    """The slots of a sparse memory at one point of its history.

    Args:
        version: the point of the history.
        handle: carries the gradient of the memory; None: the memory is an ordinary tensor, with its own graph.
        start: first stamp of the present episode of each store, (B,) or (B, N).
        clock: number of accesses so far.
        has_stale: whether slots may be stale.
        ivf: approximate search of each store; none: exact search.
    """

    def __init__(
        self,
        version: _Version,
        handle: Tensor | None,
        start: Tensor,
        clock: int,
        has_stale: bool,
        ivf: tuple[IVF, ...] = (),
    ):
        self.version, self.handle, self.start, self.clock, self.has_stale = version, handle, start, clock, has_stale
        self.ivf = ivf

    @classmethod
    def empty(
        cls, like: Tensor, batch: int, slots: int, slot_size: int, *, links: int = 0, ivf: IVF | None = None
    ) -> "Slots":
        """Slots of zeros.

        Args:
            like: gives dtype and device.
            batch: B.
            slots: R.
            slot_size: W.
            links: links of a slot to those written after it, and to those written before; 0: none are kept.
            ivf: approximate search; None: exact.
        """
        start = like.new_zeros(batch, dtype=torch.long)
        memory, scale = like.new_zeros(batch, slots, slot_size), like.new_full((batch, slots), EMPTY_SCALE)
        stamp = torch.arange(slots, device=like.device) + start.unsqueeze(-1)
        handle = None if functorch_active() else like.new_zeros(()).expand(memory.shape)
        arrays = Arrays(memory, scale, stamp, no_links(like, batch, slots, links) if links else ())
        return cls(_Version(arrays), handle, start, 0, False, () if ivf is None else (ivf,) * batch)

    @classmethod
    def filled(cls, memory: Tensor, ivf: IVF | None = None) -> "Slots":
        """Slots with content, such as prior knowledge; the first is the one that was used longest ago.

        Args:
            memory: (B, R, W).
            ivf: approximate search; None: exact.
        """
        empty = cls.empty(memory, *memory.shape, ivf=ivf)
        scale = (memory.detach().square().sum(-1) + EPS).rsqrt()
        filled = empty._of(Arrays(memory, scale, empty.version.restored().stamp), empty.start, 1)
        return filled._counted(memory.shape[1])

    @property
    def shape(self) -> torch.Size:
        """(S, R, W)."""
        version: Any = self.version
        while version.arrays is None:
            version = version.next
        return version.arrays.memory.shape

    def least_recently_used(self, heads: int, active: Tensor | None) -> Tensor:
        """The slots (S, M) that were used longest ago, a different one for each head; active heads are served first.

        Args:
            heads: M.
            active: (S, M); None: all.
        """
        stamp = self.version.restored().stamp
        start = self._first_stamp()
        if start is not None:
            order = start.unsqueeze(-1) + torch.arange(stamp.shape[1], device=stamp.device)
            stamp = torch.where(stamp < start.unsqueeze(-1), order, stamp)
        oldest = smallest(stamp, heads)
        oldest = oldest.gather(-1, stamp.gather(-1, oldest).argsort(-1))
        if active is None:
            return oldest
        return torch.empty_like(oldest).scatter(-1, (~active).to(torch.uint8).argsort(dim=-1, stable=True), oldest)

    def write(self, rows: Tensor, active: Tensor | None, weights: Tensor, add: Tensor) -> "Slots":
        """Zeroes the last of the slots of each head, and adds its vector to all of them.

        Args:
            rows: (S, M, L).
            active: (S, M), heads that write; None: all.
            weights: (S, M, L), 0 for heads that do not write.
            add: (S, M, W).
        """
        erases = torch.ones_like(rows[..., 0], dtype=torch.bool) if active is None else active
        start = self._first_stamp()

        def change(ops: Ops, arrays: Arrays, undo: list[Undo]) -> Arrays:
            return write(ops, clean(ops, arrays, rows, start, undo)[0], rows, erases, weights, add, undo)

        def record(slots: Slots, arrays: Arrays, undo: list[Undo]) -> Tensor:
            return WriteFunction.apply(arrays, slots.handle, rows, erases, start, undo, weights, add)

        return self._changed(change, record)._with(clock=self.clock + 1)._counted(add.shape[1])

    @not_compiled
    def _counted(self, words: int) -> "Slots":
        """These slots, after a write of so many words, with centroids where they are due."""
        if not self.ivf:
            return self
        arrays, start = self.version.restored(), self._first_stamp()
        return self._with(ivf=tuple(ivf.written(words, arrays, store, start) for store, ivf in enumerate(self.ivf)))

    def nearest(self, query: Tensor, k: int) -> Tensor:
        """The slots (S, M, k) with the highest cosine similarity to each query, without gradient.

        Args:
            query: (S, M, W).
            k: at most R.
        """
        arrays, start = self.version.restored(), self._first_stamp()
        with torch.no_grad():
            if self.ivf:
                return self.version.lists.nearest(self.ivf, query, arrays, start, k)
            stale = None if start is None else arrays.stamp < start.unsqueeze(-1)
            return nearest(query, arrays.memory, arrays.scale, k, stale)

    def read(self, rows: Tensor) -> tuple[Tensor, "Slots"]:
        """The content (S, ..., W) of slots, and the slots after this read.

        Args:
            rows: (S, ...).
        """
        start = self._first_stamp()
        content: list[Tensor] = []

        def change(ops: Ops, arrays: Arrays, undo: list[Undo]) -> Arrays:
            arrays, _ = clean(ops, arrays, rows, start, undo)
            content.append(take(arrays.memory, rows))
            return arrays

        def record(slots: Slots, arrays: Arrays, undo: list[Undo]) -> Tensor:
            result, handle = ReadFunction.apply(arrays, slots.handle, rows, start, undo)
            content.append(result)
            return handle

        new = self._changed(change, record)
        return content[0], new

    def mark_used(self, rows: Tensor, used: Tensor) -> "Slots":
        """Notes that slots were used in this step.

        Args:
            rows: (S, n), slots that were written or read since the last step.
            used: (S, n), which of them count as used.
        """
        return self.change(lambda ops, arrays, undo: mark_used(ops, arrays, rows, used, self.clock, undo))

    def change(self, function: Callable[[Ops, Arrays, list[Undo]], Arrays]) -> "Slots":
        """The slots after a change without gradient.

        Args:
            function: changes the arrays by the operations that it is given, and notes what it overwrites.
        """

        def record(slots: Slots, arrays: Arrays, undo: list[Undo]) -> Tensor | None:
            with torch.no_grad():
                function(IN_PLACE, arrays, undo)
            return slots.handle

        return self._changed(function, record)

    @not_compiled
    def _changed(
        self,
        change: Callable[[Ops, Arrays, list[Undo]], Arrays],
        record: Callable[["Slots", Arrays, list[Undo]], Tensor | None],
    ) -> "Slots":
        """The slots after a change: with copies, in place with a record for the backward pass, or in place."""
        if functorch_active():
            return self._with(version=_Version(change(COPYING, self._plain(), [])), handle=None)
        slots = self._writable()
        arrays, undo = slots.version.restored(), []  # type: ignore[var-annotated]
        if torch.is_grad_enabled():
            handle = record(slots, arrays, undo)
        else:
            change(IN_PLACE, arrays, undo)
            handle = arrays.memory.new_zeros(()).expand(arrays.memory.shape)
        return slots._with(version=slots.version.overwritten(undo), handle=handle)

    def _first_stamp(self) -> Tensor | None:
        """(S,), the first stamp of the present episode; None: no slot is stale."""
        return self.start.flatten() if self.has_stale else None

    def content(self) -> Tensor:
        """The memory (S, R, W) as an ordinary tensor with gradient; stale slots are zeros."""
        return self._cleaned().memory

    def _cleaned(self) -> Arrays:
        """The arrays with the memory as an ordinary tensor, and without stale slots."""
        arrays, start = self._plain(), self._first_stamp()
        if start is None:
            return arrays
        every = torch.arange(self.shape[1], device=start.device).expand(self.shape[:2])
        return clean(COPYING, arrays, every, start, [])[0]

    def used(self) -> Tensor:
        """Number of slots (S,) that were used in the present episode."""
        stamp, start = self.version.restored().stamp, self.start.flatten().unsqueeze(-1)
        return (stamp >= start + stamp.shape[1]).sum(-1)

    def _plain(self) -> Arrays:
        """The arrays with the memory as an ordinary tensor."""
        arrays = self.version.restored()
        if self.handle is None:
            return arrays
        return arrays._replace(memory=SliceColumn.apply(arrays.memory, self.handle, 0, arrays.memory.shape[1]))

    def _writable(self) -> "Slots":
        """This point, or a copy of it, whose arrays may be overwritten."""
        if self.handle is None:
            return self._of(self._plain(), self.start)
        return self if self.version.arrays is not None else self._with(version=_Version(self.version.restored()))

    def _of(self, arrays: Arrays, start: Tensor, clock: int = 0) -> "Slots":
        """Slots with copies of these arrays, whose memory is an ordinary tensor."""
        memory, *others = arrays.tensors
        handle = None
        if not functorch_active():
            memory, handle = NewColumn.apply(memory, memory.shape[1])
        version = _Version(Arrays.of((memory, *(part.clone() for part in others))))
        return self._with(version=version, handle=handle, start=start, clock=max(clock, self.clock))

    def _map(self, function: Callable[[Tensor], Tensor], start: Tensor) -> "Slots":
        return self._of(Arrays.of(tuple(function(part) for part in self._plain().tensors)), start)

    def detach(self) -> "Slots":
        return self._map(Tensor.detach, self.start)

    def where(self, mask: Tensor, initial: Leaf) -> "Slots":
        assert isinstance(initial, Slots)
        mask = expand_mask(mask, self.start.dim()).expand(self.start.shape)
        ivf = self.ivf
        if ivf and not mask.is_meta:
            chosen = zip(mask.flatten().tolist(), initial.ivf, ivf, strict=True)
            ivf = tuple(new if taken else old for taken, new, old in chosen)
        if initial.clock == 0:  # a new episode: all slots become stale
            first = (2 * self.clock + 2) * self.shape[1]  # between the stamps of this write and of the next one
            return self._with(start=torch.where(mask, first, self.start), has_stale=True, ivf=ivf)
        pairs = zip(initial._plain().tensors, self._plain().tensors, strict=True)
        parts = (torch.where(expand_mask(mask.flatten(), old.dim()), new, old) for new, old in pairs)
        arrays = Arrays.of(tuple(parts))
        new = self._of(arrays, torch.where(mask, initial.start, self.start), initial.clock)
        return new._with(has_stale=self.has_stale or initial.has_stale, ivf=ivf)

    def index(self, rows: Tensor, axis: int = 0) -> "Slots":
        def select(part: Tensor) -> Tensor:
            return part.unflatten(0, self.start.shape).index_select(axis, rows).flatten(0, self.start.dim() - 1)

        ivf = self.ivf
        if ivf and not rows.is_meta:
            ivf = tuple(ivf[store] for store in select(torch.arange(len(ivf), device=rows.device)).tolist())
        return self._map(select, self.start.index_select(axis, rows))._with(ivf=ivf)

    def fold(self) -> "Slots":
        return self._with(start=self.start.flatten(0, 1))

    def unfold(self, n: int) -> "Slots":
        return self._with(start=self.start.unflatten(0, (-1, n)))

    def _with(self, **changes: Any) -> "Slots":
        """These slots with other attributes."""
        names = "version", "handle", "start", "clock", "has_stale", "ivf"
        return Slots(**{name: getattr(self, name) for name in names} | changes)

    def pack(self) -> dict[str, Any]:
        arrays = [part.detach().clone() for part in self._cleaned().tensors]
        packed = {"arrays": arrays, "start": self.start, "clock": self.clock}
        return packed | {"ivf": [[ivf.left, ivf.centroids] for ivf in self.ivf]} if self.ivf else packed

    def unpack(self, packed: dict[str, Any]) -> "Slots":
        keys = {"arrays", "start", "clock"}
        if not isinstance(packed, dict) or set(packed) - {"ivf"} != keys:
            raise ValueError(
                f"packed slots: got {type(packed).__name__}, want a dict with the keys {', '.join(sorted(keys))}; "
                "unpack them with the initial state of the core that packed them"
            )
        slots = self._of(Arrays.of(tuple(packed["arrays"])), packed["start"])
        ivf: tuple[IVF, ...] = ()
        if self.ivf:  # without centroids, from a core with exact search, they are learned at the next write
            learned = packed.get("ivf", [[0, None]] * packed["start"].numel())
            ivf = tuple(IVF(self.ivf[0].probes, *one) for one in learned)
        return slots._with(clock=packed["clock"], has_stale=False, ivf=ivf)
