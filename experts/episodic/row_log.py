"""An episode's memory: a sliding window over an append-only log.

A circular buffer of `slots` rows is exactly a window over rows that are written once and never change. So nothing is
cloned at each step, and cost and memory grow with the length of the episode T, not with T x slots: the idea of Sparse
Access Memory (Rae et al. 2016, sec. 3.4), without its undo records, for an append needs no undoing.

The functions that write and read, and the flow of gradients through them, are in `experts.episodic.row_log_autograd`.

Shapes: S stores, C capacity, R rows in the window, M queries a store, n rows written a step, K key, V value, k rows
read.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from experts.episodic.row_log_autograd import Adopt, Span, Stretch, WriteRead
from experts.episodic.top_k_read import ALL, Attend
from experts.state import Leaf, along
from experts.torch_internals import not_compiled

_ROOM = 32  # steps' worth of rows in a first storage
_MOST_ROOM = 4096  # rows that a storage has beyond its window, at most: each step of a window so large costs more


class Rows(NamedTuple):
    """Rows on their way into a log, the n of a step. there: which of them count; None: all."""

    key: Tensor  # (S, n, K)
    value: Tensor  # (S, n, V)
    there: Tensor | None = None  # (S, n)


class _Store:
    """Storage that several logs of one history share; `used` rows of it are written. flags: rows that count, (S, C);
    None as long as all do."""

    __slots__ = ("flags", "keys", "used", "values")

    def __init__(self, keys: Tensor, values: Tensor, flags: Tensor | None, used: int):
        self.keys, self.values, self.flags, self.used = keys, values, flags, used

    def flag(self, at: int, there: Tensor) -> None:
        if self.flags is None:
            self.flags = there.new_ones(self.keys.shape[0], self.keys.shape[1])
        self.flags[:, at : at + there.shape[1]] = there


class _Place(NamedTuple):
    """Where a log stands, on the host. length: rows written before it; lo: the first row that its last read could
    see; dropped: rows that earlier copies left behind; graph: rows may carry gradients; partial: not all rows count."""

    length: int
    lo: int
    dropped: int
    graph: bool
    partial: bool


class Log(Leaf):
    """One moment of an append-only log: the rows before `length`, of which the last `slots` count.

    A log is a value. A step reads, and then appends its rows, which wait as `pending` until the next read writes them:
    so writing and reading are one function. Stepping an old log again branches: its window is copied, the newer history
    stays as it was. Without gradients the storage is bounded, for it is cut back to the window whenever it is full.
    """

    def __init__(
        self, store: _Store, handles: tuple[Tensor, Tensor], start: Tensor, slots: int, at: _Place, pending: Rows | None
    ):
        self.store, self.handles, self.start, self.slots, self.at, self.pending = (
            store, handles, start, slots, at, pending,
        )  # fmt: skip

    @classmethod
    def empty(cls, like: Tensor, lead: tuple[int, ...], key_size: int, value_size: int, slots: int) -> "Log":
        """A log without rows. like: any tensor, for dtype and device; lead: the leading axes, (B,) or (B, N)."""
        start = like.new_zeros(lead, dtype=torch.long)
        keys, values = (like.new_zeros(start.numel(), 0, size) for size in (key_size, value_size))
        handles = like.new_zeros(()).expand(keys.shape), like.new_zeros(()).expand(values.shape)
        at = _Place(0, 0, 0, False, False)
        return cls(_Store(keys, values, None, 0), handles, start, slots, at, None)

    @classmethod
    def of(cls, keys: Tensor, values: Tensor, slots: int) -> "Log":
        """A log that begins with these rows, (B, R, K) and (B, R, V), oldest first: what was known beforehand."""
        start = keys.new_zeros(keys.shape[0], dtype=torch.long)
        return cls._of(Rows(keys, values), start, slots, room=_MOST_ROOM)

    @classmethod
    def _of(
        cls, rows: Rows, start: Tensor, slots: int, *, lo: int = 0, dropped: int = 0, room: int, partial: bool = False,
        pending: Rows | None = None,
    ) -> "Log":  # fmt: skip
        length = rows.key.shape[1]
        (keys, key_handle), (values, value_handle) = (Adopt.apply(part, length + room) for part in rows[:2])
        flags = None if rows.there is None else pad(rows.there, (0, room), value=True)
        at = _Place(length, lo, dropped, torch.is_grad_enabled(), partial)
        return cls(_Store(keys, values, flags, length), (key_handle, value_handle), start, slots, at, pending)

    @property
    def length(self) -> int:
        """Rows before this moment that the storage still holds."""
        return self.at.length

    @property
    def row(self) -> Rows:
        """What the next read writes; nothing, zero rows long, at the beginning."""
        return self.pending or Rows(self.store.keys[:, :0], self.store.values[:, :0])

    def keys(self) -> Tensor:
        """Keys of the rows that the last read could see, (S, R, K), oldest first; gradients flow through them."""
        return Stretch.apply(self.store.keys, self.handles[0], self.at.lo, self.length)

    def again(self, positions: Tensor, weights: Tensor) -> Tensor:
        """What the last read gave, (S, M, V), from the positions and weights (S, M, k) that it told; no gradient."""
        values = self.store.values[:, self.at.lo : self.length].detach()
        places = (positions - (self.at.lo + self.at.dropped)).clamp(min=0)
        shares = weights.new_zeros(*weights.shape[:2], max(1, values.shape[1])).scatter_add(-1, places, weights)
        return shares[..., : values.shape[1]] @ values

    def valid(self) -> Tensor:
        """Which of the rows that the last read could see count, (S, R)."""
        return Span(0, self.length, self.at.lo).valid(self.start.flatten(), self.store.flags)

    def append(self, key: Tensor, value: Tensor, there: Tensor | None = None) -> "Log":
        """The log after a step's rows, (S, n, K) and (S, n, V); there (S, n): which of them count, None for all.

        One read lies between two appends.
        """
        return Log(self.store, self.handles, self.start, self.slots, self.at, Rows(key, value, there))

    @not_compiled
    def read(self, query: Tensor, attend: Attend) -> tuple[Tensor, Tensor, Tensor, "Log"]:
        """Writes what was appended last, then reads with query (S, M, K).

        Returns (S, M, V) values, the positions and weights (S, M, top_k) of the rows they come from, as many as there
        are where top_k is `ALL`, and the new log. Positions count rows since the episode batch began; -1 stands for no
        row.
        """
        log, (span,), starts = self.ahead(1, 0)
        store, (key, value, _) = log.store, log.row
        valid = None if starts is None else span.valid(starts[0], store.flags)
        read, *handles, index, _, weights = WriteRead.apply(
            store.keys, store.values, *log.handles, key, value, query, valid, span, attend
        )
        new = log.after((span,), tuple(handles), starts, None)
        return read, *new.told(index, weights, attend.top_k), new

    def reserve(self, rows: int, n: int) -> "Log":
        """The log with room for so many rows, n a step, or for as many as count: it need not move as it grows."""
        return self._with_room(min(rows, self.slots), n)

    def ahead(
        self, steps: int, n: int, present: Tensor | None = None, reset: Tensor | None = None
    ) -> tuple["Log", tuple[Span, ...], Tensor | None]:
        """Ready for steps that write the pending rows and then n rows each: the log with room for them, where each
        step writes and reads, and from which row on rows count at each step, (T, S); None where all rows count.

        present (T, S, n), reset (T, S): see `Core`. Rows of the absent, and those before a reset, do not count.
        """
        pending = self.row
        first = pending.key.shape[1]
        log = self._with_room(first + (steps - 1) * n, max(first, n))
        at, spans = log.length, []
        for t in range(steps):
            end = at + (n if t else first)
            whole = max(n if t else first, 1)
            spans.append(Span(at, end, max(0, end - self.slots // whole * whole)))
            at = end
        flags = [] if pending.there is None else [(0, pending.there)]
        flags += [] if present is None else [(t, present[t - 1]) for t in range(1, steps)]
        for t, there in flags:
            log.store.flag(spans[t].at, there)
        log.store.used = at
        if not log.at.partial and pending.there is None and present is None and reset is None:
            return log, tuple(spans), None
        start, starts = log.start.flatten(), []
        for t, span in enumerate(spans):
            start = start if reset is None else torch.where(reset[t], span.end, start)
            starts.append(start)
        return log, tuple(spans), torch.stack(starts)

    def after(
        self, spans: tuple[Span, ...], handles: tuple[Tensor, ...], starts: Tensor | None, pending: Rows | None
    ) -> "Log":
        """The log when these steps are done; pending: rows of the last of them."""
        at = self.at._replace(length=spans[-1].end, lo=spans[-1].lo, partial=starts is not None)
        start = self.start if starts is None else starts[-1].view(self.start.shape)
        return Log(self.store, (handles[0], handles[1]), start, self.slots, at, pending)

    def told(self, index: Tensor, weights: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
        """Positions and weights (S, M, top_k) of the last read, from places in its window."""
        positions = index + (self.at.lo + self.at.dropped)
        if self.at.partial:
            positions = torch.where(index < 0, index, positions)
        missing = top_k - index.shape[-1]
        if missing and top_k != ALL:  # the first steps of an episode: keep the shape of the state
            positions, weights = pad(positions, (0, missing), value=-1), pad(weights, (0, missing))
        return positions, weights

    @property
    def _oldest(self) -> int:
        return max(0, self.length - self.slots)

    def _kept(self) -> Rows:
        lo, hi, flags = self._oldest, self.length, self.store.flags
        key, value = (
            Stretch.apply(column, handle, lo, hi)
            for column, handle in zip((self.store.keys, self.store.values), self.handles, strict=True)
        )
        return Rows(key, value, None if flags is None else flags[:, lo:hi].clone())

    def _with_room(self, rows: int, n: int) -> "Log":
        """Self where so many rows, n a step, fit behind it; else a copy of the window: branched, full, or leaving a
        graph behind."""
        fits = self.length == self.store.used and self.length + rows <= self.store.keys.shape[1]
        graph = torch.is_grad_enabled()
        if fits and (graph or not self.at.graph):
            at = self.at._replace(graph=graph)
            return Log(self.store, self.handles, self.start, self.slots, at, self.pending)
        kept = self.length - self._oldest
        room = 3 * kept if graph and kept == self.slots else kept  # a graph keeps what it leaves: leave less often
        return self._copy(self._kept(), max(min(room, _MOST_ROOM), _ROOM * n, rows + n))

    def _copy(self, rows: Rows, room: int = _ROOM) -> "Log":
        """A log of its own with these rows in the place of the kept ones."""
        return Log._of(rows, slots=self.slots, room=room, pending=self.pending, **self._rest())

    def _rest(self) -> dict[str, Any]:
        """What there is to say of the kept rows once those before them are left behind."""
        return {
            "start": (self.start - self._oldest).clamp(min=0),
            "lo": max(0, self.at.lo - self._oldest),
            "dropped": self.at.dropped + self._oldest,
            "partial": self.at.partial,
        }

    def _changed(self, change: Callable[[Tensor], Tensor]) -> "Log":
        """A log of its own with each tensor of its rows changed."""
        log = self._copy(_each(change, self._kept()))
        log.pending = _each(change, self.pending)
        return log

    def detach(self) -> "Log":
        return self._changed(Tensor.detach)

    def where(self, mask: Tensor, fresh: Leaf) -> "Log":
        assert isinstance(fresh, Log)
        mask = along(mask, self.start.dim()).expand(self.start.shape)
        # A reset hides the rows before it, and moves nothing: a window that is read as a whole multiplies them with 0,
        # so that what is not finite in them stays.
        if fresh.length == 0 and fresh.pending is None:
            end = self.length + self.row.key.shape[1]
            return self._with(torch.where(mask, end, self.start), partial=True)
        size = max(fresh.length - fresh._oldest, self.length - self._oldest)
        new, old = fresh._padded(size), self._padded(size)
        rows, pending = (_chosen(mask.flatten(), *pair) for pair in zip(new, old, strict=True))
        start = torch.where(mask, fresh._shifted(size), self._shifted(size))
        dropped = max(log.at.dropped + log.length for log in (fresh, self)) - size  # positions stay above -1
        lo = size - max(log.length - log.at.lo for log in (fresh, self))
        assert rows is not None
        return Log._of(
            rows, start, self.slots, lo=max(0, lo), dropped=dropped, room=_ROOM, partial=True, pending=pending
        )

    def _padded(self, size: int) -> tuple[Rows, Rows | None]:
        """Void rows in front, so that windows of different lengths end together; and the pending ones."""
        key, value, there = self._kept()
        void = size - key.shape[1]
        there = None if there is None else pad(there, (void, 0))
        return Rows(pad(key, (0, 0, void, 0)), pad(value, (0, 0, void, 0)), there), self.pending

    def _shifted(self, size: int) -> Tensor:
        """`start` when the kept rows are the last of `size`."""
        return self._rest()["start"] + size - (self.length - self._oldest)

    def index(self, rows: Tensor, axis: int = 0) -> "Log":
        def chosen(part: Tensor) -> Tensor:
            return part.unflatten(0, self.start.shape).index_select(axis, rows).flatten(0, self.start.dim() - 1)

        return self._changed(chosen)._with(self._rest()["start"].index_select(axis, rows))

    def fold(self) -> "Log":
        return self._with(self.start.flatten(0, 1))

    def unfold(self, n: int) -> "Log":
        return self._with(self.start.unflatten(0, (-1, n)))

    def _with(self, start: Tensor, partial: bool = False) -> "Log":
        at = self.at._replace(partial=self.at.partial or partial)
        return Log(self.store, self.handles, start, self.slots, at, self.pending)

    def pack(self) -> dict[str, Any]:
        rows = _each(Tensor.detach, self._kept())
        pending = _each(lambda part: part.detach().clone(), self.pending)
        return {
            "rows": list(rows),
            "pending": None if pending is None else list(pending),
            **self._rest(),
        }

    def unpack(self, packed: dict[str, Any]) -> "Log":
        wanted = {"rows", "pending", "start", "lo", "dropped", "partial"}
        if not isinstance(packed, dict) or set(packed) != wanted:
            raise ValueError(f"no packed log: got {type(packed).__name__}, want a dict of {', '.join(sorted(wanted))}")
        rest = dict(packed)
        rows, pending = rest.pop("rows"), rest.pop("pending")
        pending = None if pending is None else Rows(*pending)
        return Log._of(Rows(*rows), slots=self.slots, room=_ROOM, pending=pending, **rest)


def _each(change: Any, rows: Any) -> Any:
    """Rows with each of their tensors changed; None stays None."""
    return rows if rows is None else Rows._make(None if part is None else change(part) for part in rows)


def _chosen(mask: Tensor, fresh: Rows | None, old: Rows | None) -> Rows | None:
    """Fresh rows in the stores of mask, old ones elsewhere; where there are none they are void."""
    if fresh is None and old is None:
        return None
    some = old if old is not None else fresh
    assert some is not None
    void = Rows(torch.zeros_like(some.key), torch.zeros_like(some.value), mask.new_zeros(some.key.shape[:2]))
    new, kept = (rows if rows is not None else void for rows in (fresh, old))
    key, value = (torch.where(mask.view(-1, 1, 1), a, b) for a, b in zip(new[:2], kept[:2], strict=True))
    if new.there is None and kept.there is None:
        return Rows(key, value)
    fresh_there, old_there = (
        mask.new_ones(rows.key.shape[:2]) if rows.there is None else rows.there for rows in (new, kept)
    )
    return Rows(key, value, torch.where(mask.view(-1, 1), fresh_there, old_there))
