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

from experts.episodic.row_log_autograd import NewColumn, SliceColumn, Span, WriteRead
from experts.episodic.top_k_read import ALL_ROWS, TopKAttention
from experts.state import Leaf, expand_mask
from experts.torch_internals import not_compiled

_INITIAL_STEPS = 32  # steps' worth of rows in a first storage
_MAX_SPARE_ROWS = 4096  # rows that a storage has beyond its window, at most: each step of a window so large costs more


class PendingRows(NamedTuple):
    """Rows on their way into a log, the n of a step. valid: which of them count; None: all."""

    key: Tensor  # (S, n, K)
    value: Tensor  # (S, n, V)
    valid: Tensor | None = None  # (S, n)


class _Storage:
    """Storage that several logs of one history share; `used` rows of it are written. valid: rows that count, (S, C);
    None as long as all do."""

    __slots__ = ("keys", "used", "valid", "values")

    def __init__(self, keys: Tensor, values: Tensor, valid: Tensor | None, used: int):
        self.keys, self.values, self.valid, self.used = keys, values, valid, used

    def mark_valid(self, at: int, there: Tensor) -> None:
        if self.valid is None:
            self.valid = there.new_ones(self.keys.shape[0], self.keys.shape[1])
        self.valid[:, at : at + there.shape[1]] = there


class _Cursor(NamedTuple):
    """Where a log stands, on the host. length: rows written before it; lo: the first row that its last read could
    see; dropped: rows that earlier copies left behind; graph: rows may carry gradients; partial: not all rows count."""

    length: int
    window_start: int
    dropped: int
    tracks_grad: bool
    has_invalid_rows: bool


class RowLog(Leaf):
    """One moment of an append-only log: the rows before `length`, of which the last `slots` count.

    A log is a value. A step reads, and then appends its rows, which wait as `pending` until the next read writes them:
    so writing and reading are one function. Stepping an old log again branches: its window is copied, the newer history
    stays as it was. Without gradients the storage is bounded, for it is cut back to the window whenever it is full.
    """

    def __init__(
        self,
        store: _Storage,
        handles: tuple[Tensor, Tensor],
        start: Tensor,
        slots: int,
        cursor: _Cursor,
        pending: PendingRows | None,
    ):
        self.store, self.handles, self.start, self.slots, self.cursor, self.pending = (
            store, handles, start, slots, cursor, pending,
        )  # fmt: skip

    @classmethod
    def empty(cls, like: Tensor, lead: tuple[int, ...], key_size: int, value_size: int, slots: int) -> "RowLog":
        """A log without rows. like: any tensor, for dtype and device; lead: the leading axes, (B,) or (B, N)."""
        start = like.new_zeros(lead, dtype=torch.long)
        keys, values = (like.new_zeros(start.numel(), 0, size) for size in (key_size, value_size))
        handles = like.new_zeros(()).expand(keys.shape), like.new_zeros(()).expand(values.shape)
        at = _Cursor(0, 0, 0, False, False)
        return cls(_Storage(keys, values, None, 0), handles, start, slots, at, None)

    @classmethod
    def from_rows(cls, keys: Tensor, values: Tensor, slots: int) -> "RowLog":
        """A log that begins with these rows, (B, R, K) and (B, R, V), oldest first: what was known beforehand."""
        start = keys.new_zeros(keys.shape[0], dtype=torch.long)
        return cls._of(PendingRows(keys, values), start, slots, room=_MAX_SPARE_ROWS)

    @classmethod
    def _of(
        cls, rows: PendingRows, start: Tensor, slots: int, *, lo: int = 0, dropped: int = 0, room: int, has_invalid_rows: bool = False,
        pending: PendingRows | None = None,
    ) -> "RowLog":  # fmt: skip
        length = rows.key.shape[1]
        (keys, key_handle), (values, value_handle) = (NewColumn.apply(part, length + room) for part in rows[:2])
        flags = None if rows.valid is None else pad(rows.valid, (0, room), value=True)
        at = _Cursor(length, lo, dropped, torch.is_grad_enabled(), has_invalid_rows)
        return cls(_Storage(keys, values, flags, length), (key_handle, value_handle), start, slots, at, pending)

    @property
    def length(self) -> int:
        """Rows before this moment that the storage still holds."""
        return self.cursor.length

    @property
    def pending_rows(self) -> PendingRows:
        """What the next read writes; nothing, zero rows long, at the beginning."""
        return self.pending or PendingRows(self.store.keys[:, :0], self.store.values[:, :0])

    def keys(self) -> Tensor:
        """Keys of the rows that the last read could see, (S, R, K), oldest first; gradients flow through them."""
        return SliceColumn.apply(self.store.keys, self.handles[0], self.cursor.window_start, self.length)

    def reread(self, positions: Tensor, weights: Tensor) -> Tensor:
        """What the last read gave, (S, M, V), from the positions and weights (S, M, k) that it told; no gradient."""
        values = self.store.values[:, self.cursor.window_start : self.length].detach()
        places = (positions - (self.cursor.window_start + self.cursor.dropped)).clamp(min=0)
        shares = weights.new_zeros(*weights.shape[:2], max(1, values.shape[1])).scatter_add(-1, places, weights)
        return shares[..., : values.shape[1]] @ values

    def valid(self) -> Tensor:
        """Which of the rows that the last read could see count, (S, R)."""
        return Span(0, self.length, self.cursor.window_start).valid(self.start.flatten(), self.store.valid)

    def append(self, key: Tensor, value: Tensor, there: Tensor | None = None) -> "RowLog":
        """The log after a step's rows, (S, n, K) and (S, n, V); there (S, n): which of them count, None for all.

        One read lies between two appends.
        """
        return RowLog(self.store, self.handles, self.start, self.slots, self.cursor, PendingRows(key, value, there))

    @not_compiled
    def read(self, query: Tensor, attend: TopKAttention) -> tuple[Tensor, Tensor, Tensor, "RowLog"]:
        """Writes what was appended last, then reads with query (S, M, K).

        Returns (S, M, V) values, the positions and weights (S, M, top_k) of the rows they come from, as many as there
        are where top_k is `ALL_ROWS`, and the new log. Positions count rows since the episode batch began; -1 stands for no
        row.
        """
        log, (span,), starts = self.plan_writes(1, 0)
        store, (key, value, _) = log.store, log.pending_rows
        valid = None if starts is None else span.valid(starts[0], store.valid)
        read, *handles, index, _, weights = WriteRead.apply(
            store.keys, store.values, *log.handles, key, value, query, valid, span, attend
        )
        new = log.commit((span,), tuple(handles), starts, None)
        return read, *new.to_positions(index, weights, attend.top_k), new

    def reserve(self, rows: int, n: int) -> "RowLog":
        """The log with room for so many rows, n a step, or for as many as count: it need not move as it grows."""
        return self._ensure_capacity(min(rows, self.slots), n)

    def plan_writes(
        self, steps: int, n: int, present: Tensor | None = None, reset: Tensor | None = None
    ) -> tuple["RowLog", tuple[Span, ...], Tensor | None]:
        """Ready for steps that write the pending rows and then n rows each: the log with room for them, where each
        step writes and reads, and from which row on rows count at each step, (T, S); None where all rows count.

        present (T, S, n), reset (T, S): see `Core`. Rows of the absent, and those before a reset, do not count.
        """
        pending = self.pending_rows
        first = pending.key.shape[1]
        log = self._ensure_capacity(first + (steps - 1) * n, max(first, n))
        at, spans = log.length, []
        for t in range(steps):
            end = at + (n if t else first)
            whole = max(n if t else first, 1)
            spans.append(Span(at, end, max(0, end - self.slots // whole * whole)))
            at = end
        flags = [] if pending.valid is None else [(0, pending.valid)]
        flags += [] if present is None else [(t, present[t - 1]) for t in range(1, steps)]
        for t, there in flags:
            log.store.mark_valid(spans[t].write_start, there)
        log.store.used = at
        if not log.cursor.has_invalid_rows and pending.valid is None and present is None and reset is None:
            return log, tuple(spans), None
        start, starts = log.start.flatten(), []
        for t, span in enumerate(spans):
            start = start if reset is None else torch.where(reset[t], span.end, start)
            starts.append(start)
        return log, tuple(spans), torch.stack(starts)

    def commit(
        self, spans: tuple[Span, ...], handles: tuple[Tensor, ...], starts: Tensor | None, pending: PendingRows | None
    ) -> "RowLog":
        """The log when these steps are done; pending: rows of the last of them."""
        at = self.cursor._replace(
            length=spans[-1].end, window_start=spans[-1].window_start, has_invalid_rows=starts is not None
        )
        start = self.start if starts is None else starts[-1].view(self.start.shape)
        return RowLog(self.store, (handles[0], handles[1]), start, self.slots, at, pending)

    def to_positions(self, index: Tensor, weights: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
        """Positions and weights (S, M, top_k) of the last read, from places in its window."""
        positions = index + (self.cursor.window_start + self.cursor.dropped)
        if self.cursor.has_invalid_rows:
            positions = torch.where(index < 0, index, positions)
        missing = top_k - index.shape[-1]
        if missing and top_k != ALL_ROWS:  # the first steps of an episode: keep the shape of the state
            positions, weights = pad(positions, (0, missing), value=-1), pad(weights, (0, missing))
        return positions, weights

    @property
    def _oldest(self) -> int:
        return max(0, self.length - self.slots)

    def _window(self) -> PendingRows:
        lo, hi, flags = self._oldest, self.length, self.store.valid
        key, value = (
            SliceColumn.apply(column, handle, lo, hi)
            for column, handle in zip((self.store.keys, self.store.values), self.handles, strict=True)
        )
        return PendingRows(key, value, None if flags is None else flags[:, lo:hi].clone())

    def _ensure_capacity(self, rows: int, n: int) -> "RowLog":
        """Self where so many rows, n a step, fit behind it; else a copy of the window: branched, full, or leaving a
        graph behind."""
        fits = self.length == self.store.used and self.length + rows <= self.store.keys.shape[1]
        graph = torch.is_grad_enabled()
        if fits and (graph or not self.cursor.tracks_grad):
            at = self.cursor._replace(tracks_grad=graph)
            return RowLog(self.store, self.handles, self.start, self.slots, at, self.pending)
        kept = self.length - self._oldest
        room = 3 * kept if graph and kept == self.slots else kept  # a graph keeps what it leaves: leave less often
        return self._copy(self._window(), max(min(room, _MAX_SPARE_ROWS), _INITIAL_STEPS * n, rows + n))

    def _copy(self, rows: PendingRows, room: int = _INITIAL_STEPS) -> "RowLog":
        """A log of its own with these rows in the place of the kept ones."""
        return RowLog._of(rows, slots=self.slots, room=room, pending=self.pending, **self._rest())

    def _rest(self) -> dict[str, Any]:
        """What there is to say of the kept rows once those before them are left behind."""
        return {
            "start": (self.start - self._oldest).clamp(min=0),
            "lo": max(0, self.cursor.window_start - self._oldest),
            "dropped": self.cursor.dropped + self._oldest,
            "has_invalid_rows": self.cursor.has_invalid_rows,
        }

    def _map_rows(self, change: Callable[[Tensor], Tensor]) -> "RowLog":
        """A log of its own with each tensor of its rows changed."""
        log = self._copy(_each(change, self._window()))
        log.pending = _each(change, self.pending)
        return log

    def detach(self) -> "RowLog":
        return self._map_rows(Tensor.detach)

    def where(self, mask: Tensor, fresh: Leaf) -> "RowLog":
        assert isinstance(fresh, RowLog)
        mask = expand_mask(mask, self.start.dim()).expand(self.start.shape)
        # A reset hides the rows before it, and moves nothing: a window that is read as a whole multiplies them with 0,
        # so that what is not finite in them stays.
        if fresh.length == 0 and fresh.pending is None:
            end = self.length + self.pending_rows.key.shape[1]
            return self._with(torch.where(mask, end, self.start), has_invalid_rows=True)
        size = max(fresh.length - fresh._oldest, self.length - self._oldest)
        new, old = fresh._padded(size), self._padded(size)
        rows, pending = (_chosen(mask.flatten(), *pair) for pair in zip(new, old, strict=True))
        start = torch.where(mask, fresh._shifted(size), self._shifted(size))
        dropped = max(log.cursor.dropped + log.length for log in (fresh, self)) - size  # positions stay above -1
        lo = size - max(log.length - log.cursor.window_start for log in (fresh, self))
        assert rows is not None
        return RowLog._of(
            rows,
            start,
            self.slots,
            lo=max(0, lo),
            dropped=dropped,
            room=_INITIAL_STEPS,
            has_invalid_rows=True,
            pending=pending,
        )

    def _padded(self, size: int) -> tuple[PendingRows, PendingRows | None]:
        """Void rows in front, so that windows of different lengths end together; and the pending ones."""
        key, value, there = self._window()
        void = size - key.shape[1]
        there = None if there is None else pad(there, (void, 0))
        return PendingRows(pad(key, (0, 0, void, 0)), pad(value, (0, 0, void, 0)), there), self.pending

    def _shifted(self, size: int) -> Tensor:
        """`start` when the kept rows are the last of `size`."""
        return self._rest()["start"] + size - (self.length - self._oldest)

    def index(self, rows: Tensor, axis: int = 0) -> "RowLog":
        def chosen(part: Tensor) -> Tensor:
            return part.unflatten(0, self.start.shape).index_select(axis, rows).flatten(0, self.start.dim() - 1)

        return self._map_rows(chosen)._with(self._rest()["start"].index_select(axis, rows))

    def fold(self) -> "RowLog":
        return self._with(self.start.flatten(0, 1))

    def unfold(self, n: int) -> "RowLog":
        return self._with(self.start.unflatten(0, (-1, n)))

    def _with(self, start: Tensor, has_invalid_rows: bool = False) -> "RowLog":
        at = self.cursor._replace(has_invalid_rows=self.cursor.has_invalid_rows or has_invalid_rows)
        return RowLog(self.store, self.handles, start, self.slots, at, self.pending)

    def pack(self) -> dict[str, Any]:
        rows = _each(Tensor.detach, self._window())
        pending = _each(lambda part: part.detach().clone(), self.pending)
        return {
            "rows": list(rows),
            "pending": None if pending is None else list(pending),
            **self._rest(),
        }

    def unpack(self, packed: dict[str, Any]) -> "RowLog":
        wanted = {"rows", "pending", "start", "lo", "dropped", "has_invalid_rows"}
        if not isinstance(packed, dict) or set(packed) != wanted:
            raise ValueError(f"no packed log: got {type(packed).__name__}, want a dict of {', '.join(sorted(wanted))}")
        rest = dict(packed)
        rows, pending = rest.pop("rows"), rest.pop("pending")
        pending = None if pending is None else PendingRows(*pending)
        return RowLog._of(PendingRows(*rows), slots=self.slots, room=_INITIAL_STEPS, pending=pending, **rest)


def _each(change: Any, rows: Any) -> Any:
    """Rows with each of their tensors changed; None stays None."""
    return rows if rows is None else PendingRows._make(None if part is None else change(part) for part in rows)


def _chosen(mask: Tensor, fresh: PendingRows | None, old: PendingRows | None) -> PendingRows | None:
    """Fresh rows in the stores of mask, old ones elsewhere; where there are none they are void."""
    if fresh is None and old is None:
        return None
    some = old if old is not None else fresh
    assert some is not None
    void = PendingRows(torch.zeros_like(some.key), torch.zeros_like(some.value), mask.new_zeros(some.key.shape[:2]))
    new, kept = (rows if rows is not None else void for rows in (fresh, old))
    key, value = (torch.where(mask.view(-1, 1, 1), a, b) for a, b in zip(new[:2], kept[:2], strict=True))
    if new.valid is None and kept.valid is None:
        return PendingRows(key, value)
    fresh_there, old_there = (
        mask.new_ones(rows.key.shape[:2]) if rows.valid is None else rows.valid for rows in (new, kept)
    )
    return PendingRows(key, value, torch.where(mask.view(-1, 1), fresh_there, old_there))
