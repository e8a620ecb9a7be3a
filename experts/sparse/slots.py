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
from experts.sparse.access import COPYING, IN_PLACE, Access, Arrays, Request, Undo, access, wide
from experts.sparse.access_autograd import AccessFunction
from experts.state import Leaf, expand_mask
from experts.torch_internals import functorch_active, not_compiled


class _Version:
    """A point of a history: the arrays if it is the newest, else what the next write overwrote, and the next point."""

    __slots__ = ("arrays", "next", "undo")

    def __init__(self, arrays: Arrays | None):
        self.arrays = arrays
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
        arrays = Arrays(*(part.clone() for part in point.arrays))
        for record in reversed(records):
            for number, rows, old in reversed(record):
                array = arrays[number]
                array.scatter_(1, wide(rows, array.shape[-1]) if array.dim() == 3 else rows, old)
        return arrays

    def overwritten(self, undo: list[Undo]) -> "_Version":
        """The next point, after a write in place that overwrote `undo`."""
        successor = _Version(self.arrays)
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
    """

    def __init__(self, version: _Version, handle: Tensor | None, start: Tensor, clock: int, has_stale: bool):
        self.version, self.handle, self.start, self.clock, self.has_stale = version, handle, start, clock, has_stale

    @classmethod
    def empty(cls, like: Tensor, lead: tuple[int, ...], slots: int, slot_size: int) -> "Slots":
        """Slots of zeros.

        Args:
            like: gives dtype and device.
            lead: the leading axes, (B,) or (B, N).
            slots: R.
            slot_size: W.
        """
        start = like.new_zeros(lead, dtype=torch.long)
        memory = like.new_zeros(start.numel(), slots, slot_size)
        scale = like.new_full((start.numel(), slots), EPS**-0.5)
        stamp = torch.arange(slots, device=like.device) + start.flatten().unsqueeze(-1)
        handle = None if functorch_active() else like.new_zeros(()).expand(memory.shape)
        return cls(_Version(Arrays(memory, scale, stamp)), handle, start, 0, False)

    @classmethod
    def filled(cls, memory: Tensor) -> "Slots":
        """Slots with content, such as prior knowledge; the first is the one that was used longest ago.

        Args:
            memory: (B, R, W).
        """
        empty = cls.empty(memory, memory.shape[:1], *memory.shape[1:])
        scale = (memory.detach().square().sum(-1) + EPS).rsqrt()
        return empty._of(Arrays(memory, scale, empty.version.restored().stamp), empty.start, 1)

    @property
    def shape(self) -> torch.Size:
        """(S, R, W)."""
        version: Any = self.version
        while version.arrays is None:
            version = version.next
        return version.arrays.memory.shape

    @not_compiled
    def access(
        self, previous: Tensor, active: Tensor | None, threshold: float, weights: Tensor, add: Tensor, query: Tensor,
        strength: Tensor,
    ) -> tuple[Access, "Slots"]:  # fmt: skip
        """Writes, then reads, as `experts.sparse.access.access`.

        Args:
            previous: (S, M, K), the slots that each head read last.
            active: (S, M), heads that write and use slots; None: all.
            threshold: of the sum of weights with which a slot is used.
            weights: (S, M, L), of the writes.
            add: (S, M, W), what each head writes.
            query: (S, M, W).
            strength: (S, M).
        """
        start = self.start.flatten() if self.has_stale else None
        request = Request(previous, active, start, self.clock + 1, threshold)
        if functorch_active():
            arrays, result, _ = access(COPYING, self._plain(), request, weights, add, query, strength)
            return result, Slots(_Version(arrays), None, self.start, self.clock + 1, self.has_stale)
        slots = self._writable()
        arrays, undo = slots.version.restored(), []  # type: ignore[var-annotated]
        if torch.is_grad_enabled():
            *parts, handle = AccessFunction.apply(arrays, slots.handle, request, undo, weights, add, query, strength)
            result = Access(*parts)
        else:
            _, result, undo = access(IN_PLACE, arrays, request, weights, add, query, strength)
            handle = arrays.memory.new_zeros(()).expand(arrays.memory.shape)
        version = slots.version.overwritten(undo)
        return result, Slots(version, handle, self.start, self.clock + 1, self.has_stale)

    def content(self) -> Tensor:
        """The memory (S, R, W) as an ordinary tensor with gradient; stale slots are zeros."""
        arrays = self._plain()
        if not self.has_stale:
            return arrays.memory
        return torch.where((arrays.stamp < self.start.flatten().unsqueeze(-1)).unsqueeze(-1), 0, arrays.memory)

    def used(self) -> Tensor:
        """Number of slots (S,) that were used in the present episode."""
        stamp, start = self.version.restored().stamp, self.start.flatten().unsqueeze(-1)
        return (stamp >= start + stamp.shape[1]).sum(-1)

    def _plain(self) -> Arrays:
        """The arrays as ordinary tensors, not shared with other points."""
        memory, scale, stamp = self.version.restored()
        if self.handle is not None:
            memory = SliceColumn.apply(memory, self.handle, 0, memory.shape[1])
        return Arrays(memory, scale.clone(), stamp.clone())

    def _writable(self) -> "Slots":
        """This point, or a copy of it, whose arrays may be overwritten."""
        if self.handle is None:
            return self._of(self._plain(), self.start)
        if self.version.arrays is not None:
            return self
        return Slots(_Version(self.version.restored()), self.handle, self.start, self.clock, self.has_stale)

    def _of(self, arrays: Arrays, start: Tensor, clock: int = 0) -> "Slots":
        """Slots with these ordinary tensors."""
        memory, handle = arrays.memory, None
        if not functorch_active():
            memory, handle = NewColumn.apply(memory, memory.shape[1])
        return Slots(_Version(arrays._replace(memory=memory)), handle, start, max(clock, self.clock), self.has_stale)

    def _map(self, function: Callable[[Tensor], Tensor], start: Tensor) -> "Slots":
        return self._of(Arrays(*(function(part) for part in self._plain())), start)

    def detach(self) -> "Slots":
        return self._map(Tensor.detach, self.start)

    def where(self, mask: Tensor, initial: Leaf) -> "Slots":
        assert isinstance(initial, Slots)
        mask = expand_mask(mask, self.start.dim()).expand(self.start.shape)
        if initial.clock == 0:  # a new episode: all slots become stale
            first = (self.clock + 1) * self.shape[1]
            return Slots(self.version, self.handle, torch.where(mask, first, self.start), self.clock + 1, True)
        chosen = mask.flatten()
        pairs = zip(initial._plain(), self._plain(), strict=True)
        arrays = Arrays(*(torch.where(expand_mask(chosen, old.dim()), new, old) for new, old in pairs))
        new = self._of(arrays, torch.where(mask, initial.start, self.start), initial.clock)
        new.has_stale = self.has_stale or initial.has_stale
        return new

    def index(self, rows: Tensor, axis: int = 0) -> "Slots":
        def select(part: Tensor) -> Tensor:
            return part.unflatten(0, self.start.shape).index_select(axis, rows).flatten(0, self.start.dim() - 1)

        return self._map(select, self.start.index_select(axis, rows))

    def fold(self) -> "Slots":
        return self._with(self.start.flatten(0, 1))

    def unfold(self, n: int) -> "Slots":
        return self._with(self.start.unflatten(0, (-1, n)))

    def _with(self, start: Tensor) -> "Slots":
        return Slots(self.version, self.handle, start, self.clock, self.has_stale)

    def pack(self) -> dict[str, Any]:
        arrays = [part.detach().clone() for part in self._plain()]
        return {"arrays": arrays, "start": self.start, "clock": self.clock, "has_stale": self.has_stale}

    def unpack(self, packed: dict[str, Any]) -> "Slots":
        keys = {"arrays", "start", "clock", "has_stale"}
        if not isinstance(packed, dict) or set(packed) != keys:
            raise ValueError(
                f"packed slots: got {type(packed).__name__}, want a dict with the keys {', '.join(sorted(keys))}; "
                "unpack them with the initial state of the core that packed them"
            )
        slots = self._of(Arrays(*packed["arrays"]), packed["start"])
        slots.clock, slots.has_stale = packed["clock"], packed["has_stale"]
        return slots
