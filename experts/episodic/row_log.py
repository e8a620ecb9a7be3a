"""Append-only log of rows with a sliding window: a differentiable circular buffer without copies.

A circular buffer of `slots` rows equals a window over rows that are written once and never change. No step clones the
buffer, and cost and memory grow with the length of the episode T, not with T x slots. This is the idea of Sparse Access
Memory (Rae et al. 2016, sec. 3.4), without its undo records, as appended rows are never overwritten.

`experts.episodic.row_log_autograd` has the autograd functions that write and read.

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

_INITIAL_STEPS = 32  # steps for which a new storage has spare rows
_MAX_SPARE_ROWS = 4096  # maximal number of spare rows of a storage, for steps of usual size


class PendingRows(NamedTuple):
    """The n rows of a step, which the next step writes into the log. valid: which of them are valid; None: all."""

    key: Tensor  # (S, n, K)
    value: Tensor  # (S, n, V)
    valid: Tensor | None = None  # (S, n)


class _Storage:
    """Storage shared by the logs of one history; `used` rows are written. valid (S, C): valid rows; None: all."""

    __slots__ = ("keys", "used", "valid", "values")

    def __init__(self, keys: Tensor, values: Tensor, valid: Tensor | None, used: int):
        self.keys, self.values, self.valid, self.used = keys, values, valid, used

    def mark_valid(self, start: int, valid: Tensor) -> None:
        """Sets which of the rows from `start` on are valid, (S, n)."""
        if self.valid is None:
            self.valid = valid.new_ones(self.keys.shape[0], self.keys.shape[1])
        self.valid[:, start : start + valid.shape[1]] = valid


class _Cursor(NamedTuple):
    """Position of a log in its storage, on the host.

    Args:
        length: rows written before this point.
        window_start: first row of the window of the last read.
        dropped: rows that earlier copies dropped.
        tracks_grad: whether rows may have gradients.
        has_invalid_rows: whether some rows may be invalid.
    """

    length: int
    window_start: int
    dropped: int
    tracks_grad: bool
    has_invalid_rows: bool


class RowLog(Leaf):
    """Append-only log of rows: a snapshot with the rows before `length`, of which the last `slots` can be read.

    A log is an immutable value. A step reads, and then appends its rows, which stay `pending` until the next read
    writes them, so that one autograd function writes and reads. A step from an old log branches: its window is copied,
    and the newer history is unchanged. Without gradients the storage is bounded, as a full storage is reduced to the
    window.

    Args:
        store: storage, which may be shared with other logs of the same history.
        handles: of keys and values; they carry the gradients of the storage.
        start: first valid row of each store, (B,) or (B, N).
        slots: size of the window in rows.
        cursor: position in the storage.
        pending: rows of the last step, which the next read writes; None: none.
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
        """An empty log.

        Args:
            like: gives dtype and device.
            lead: the leading axes, (B,) or (B, N).
            key_size: K.
            value_size: V.
            slots: size of the window in rows.
        """
        start = like.new_zeros(lead, dtype=torch.long)
        keys, values = (like.new_zeros(start.numel(), 0, size) for size in (key_size, value_size))
        handles = like.new_zeros(()).expand(keys.shape), like.new_zeros(()).expand(values.shape)
        cursor = _Cursor(0, 0, 0, False, False)
        return cls(_Storage(keys, values, None, 0), handles, start, slots, cursor, None)

    @classmethod
    def from_rows(cls, keys: Tensor, values: Tensor, slots: int) -> "RowLog":
        """A log with initial rows, oldest first, such as prior knowledge.

        Args:
            keys: (B, R, K).
            values: (B, R, V).
            slots: size of the window in rows.
        """
        start = keys.new_zeros(keys.shape[0], dtype=torch.long)
        return cls._of(PendingRows(keys, values), start, slots, spare=_MAX_SPARE_ROWS)

    @classmethod
    def _of(
        cls, rows: PendingRows, start: Tensor, slots: int, *, window_start: int = 0, dropped: int = 0, spare: int,
        has_invalid_rows: bool = False, pending: PendingRows | None = None,
    ) -> "RowLog":  # fmt: skip
        length = rows.key.shape[1]
        (keys, key_handle), (values, value_handle) = (NewColumn.apply(part, length + spare) for part in rows[:2])
        valid = None if rows.valid is None else pad(rows.valid, (0, spare), value=True)
        cursor = _Cursor(length, window_start, dropped, torch.is_grad_enabled(), has_invalid_rows)
        return cls(_Storage(keys, values, valid, length), (key_handle, value_handle), start, slots, cursor, pending)

    @property
    def length(self) -> int:
        """Number of written rows in the storage before this point."""
        return self.cursor.length

    @property
    def pending_rows(self) -> PendingRows:
        """The rows that the next read writes; zero rows at the beginning."""
        return self.pending or PendingRows(self.store.keys[:, :0], self.store.values[:, :0])

    def keys(self) -> Tensor:
        """Keys of the window of the last read, (S, R, K), oldest first, with gradients."""
        return SliceColumn.apply(self.store.keys, self.handles[0], self.cursor.window_start, self.length)

    def reread(self, positions: Tensor, weights: Tensor) -> Tensor:
        """Read vectors (S, M, V) of the last read, computed again without gradient.

        Args:
            positions: rows of the last read, (S, M, k).
            weights: their weights, (S, M, k).
        """
        values = self.store.values[:, self.cursor.window_start : self.length].detach()
        index = (positions - (self.cursor.window_start + self.cursor.dropped)).clamp(min=0)
        dense = weights.new_zeros(*weights.shape[:2], max(1, values.shape[1])).scatter_add(-1, index, weights)
        return dense[..., : values.shape[1]] @ values

    def valid(self) -> Tensor:
        """Valid rows of the window of the last read, (S, R)."""
        return Span(0, self.length, self.cursor.window_start).valid(self.start.flatten(), self.store.valid)

    def append(self, key: Tensor, value: Tensor, valid: Tensor | None = None) -> "RowLog":
        """Appends the rows of a step. Between two appends there must be one read.

        Args:
            key: (S, n, K).
            value: (S, n, V).
            valid: which rows are valid, (S, n); None: all.
        """
        return RowLog(self.store, self.handles, self.start, self.slots, self.cursor, PendingRows(key, value, valid))

    @not_compiled
    def read(self, query: Tensor, attend: TopKAttention) -> tuple[Tensor, Tensor, Tensor, "RowLog"]:
        """Writes the pending rows, then reads.

        Args:
            query: (S, M, K).
            attend: the read.

        Returns:
            The read vectors (S, M, V), the positions and weights (S, M, top_k) of the rows read (all rows where top_k
            is `ALL_ROWS`), and the new log. Positions count rows since the first episode began; -1 stands for no row.
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
        """Allocates storage for later rows, at most a window of them, so that appending does not copy it.

        Args:
            rows: number of rows.
            n: rows of a step.
        """
        return self._ensure_capacity(min(rows, self.slots), n)

    def plan_writes(
        self, steps: int, n: int, reset: Tensor | None = None
    ) -> tuple["RowLog", tuple[Span, ...], Tensor | None]:
        """Prepares several steps, which write the pending rows and then n rows each.

        Rows before a reset are invalid.

        Args:
            steps: T.
            n: rows of a step.
            reset: (T, S), as in `Core.unroll`; None: none.

        Returns:
            The log with allocated storage; the rows that each step writes and reads; and the first valid row at each
            step, (T, S), or None where all rows are valid.
        """
        pending = self.pending_rows
        first = pending.key.shape[1]
        log = self._ensure_capacity(first + (steps - 1) * n, max(first, n))
        write_start, spans = log.length, []
        for t in range(steps):
            end = write_start + (n if t else first)
            step_rows = max(n if t else first, 1)
            spans.append(Span(write_start, end, max(0, end - self.slots // step_rows * step_rows)))
            write_start = end
        if pending.valid is not None:
            log.store.mark_valid(spans[0].write_start, pending.valid)
        log.store.used = write_start
        if not log.cursor.has_invalid_rows and pending.valid is None and reset is None:
            return log, tuple(spans), None
        start, starts = log.start.flatten(), []
        for t, span in enumerate(spans):
            start = start if reset is None else torch.where(reset[t], span.end, start)
            starts.append(start)
        return log, tuple(spans), torch.stack(starts)

    def commit(
        self, spans: tuple[Span, ...], handles: tuple[Tensor, ...], starts: Tensor | None, pending: PendingRows | None
    ) -> "RowLog":
        """The log after the steps of `plan_writes`.

        Args:
            spans, starts: results of `plan_writes`.
            handles: new handles of keys and values.
            pending: rows of the last step.
        """
        cursor = self.cursor._replace(
            length=spans[-1].end, window_start=spans[-1].window_start, has_invalid_rows=starts is not None
        )
        start = self.start if starts is None else starts[-1].view(self.start.shape)
        return RowLog(self.store, (handles[0], handles[1]), start, self.slots, cursor, pending)

    def to_positions(self, index: Tensor, weights: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
        """Positions and weights (S, M, top_k) of the last read.

        Args:
            index: rows relative to the window, (S, M, k); -1 for no row.
            weights: (S, M, k).
            top_k: size to which both are padded; `ALL_ROWS` for no padding.
        """
        positions = index + (self.cursor.window_start + self.cursor.dropped)
        if self.cursor.has_invalid_rows:
            positions = torch.where(index < 0, index, positions)
        missing = top_k - index.shape[-1]
        if missing and top_k != ALL_ROWS:  # in the first steps of an episode, for a state of fixed shape
            positions, weights = pad(positions, (0, missing), value=-1), pad(weights, (0, missing))
        return positions, weights

    @property
    def _oldest(self) -> int:
        return max(0, self.length - self.slots)

    def _window(self) -> PendingRows:
        """The rows of the window as ordinary tensors."""
        start, end, valid = self._oldest, self.length, self.store.valid
        key, value = (
            SliceColumn.apply(column, handle, start, end)
            for column, handle in zip((self.store.keys, self.store.values), self.handles, strict=True)
        )
        return PendingRows(key, value, None if valid is None else valid[:, start:end].clone())

    def _ensure_capacity(self, rows: int, n: int) -> "RowLog":
        """This log if its storage has space for `rows` more; else a copy of the window.

        It is copied if it is an old log of its history, if the storage is full, and where gradients are switched off
        after steps with gradients. n: rows of a step.
        """
        fits = self.length == self.store.used and self.length + rows <= self.store.keys.shape[1]
        graph = torch.is_grad_enabled()
        if fits and (graph or not self.cursor.tracks_grad):
            cursor = self.cursor._replace(tracks_grad=graph)
            return RowLog(self.store, self.handles, self.start, self.slots, cursor, self.pending)
        window = self.length - self._oldest
        spare = 3 * window if graph and window == self.slots else window  # a graph keeps old storages: copy less often
        return self._copy(self._window(), max(min(spare, _MAX_SPARE_ROWS), _INITIAL_STEPS * n, rows + n))

    def _copy(self, rows: PendingRows, spare: int = _INITIAL_STEPS) -> "RowLog":
        """A log with new storage and these rows as its window."""
        return RowLog._of(rows, slots=self.slots, spare=spare, pending=self.pending, **self._rest())

    def _rest(self) -> dict[str, Any]:
        """Options of `_of` for a log whose storage begins with the window."""
        return {
            "start": (self.start - self._oldest).clamp(min=0),
            "window_start": max(0, self.cursor.window_start - self._oldest),
            "dropped": self.cursor.dropped + self._oldest,
            "has_invalid_rows": self.cursor.has_invalid_rows,
        }

    def _map_rows(self, function: Callable[[Tensor], Tensor]) -> "RowLog":
        """A log with new storage and `function` applied to each tensor of its rows."""
        log = self._copy(_map_parts(function, self._window()))
        log.pending = _map_parts(function, self.pending)
        return log

    def detach(self) -> "RowLog":
        return self._map_rows(Tensor.detach)

    def where(self, mask: Tensor, initial: Leaf) -> "RowLog":
        assert isinstance(initial, RowLog)
        mask = expand_mask(mask, self.start.dim()).expand(self.start.shape)
        # A reset makes earlier rows invalid without moving rows. A dense read multiplies invalid rows by 0, so that
        # invalid rows that are not finite give NaN.
        if initial.length == 0 and initial.pending is None:
            end = self.length + self.pending_rows.key.shape[1]
            return self._with(torch.where(mask, end, self.start), has_invalid_rows=True)
        size = max(initial.length - initial._oldest, self.length - self._oldest)
        new, old = initial._padded(size), self._padded(size)
        rows, pending = (_select_rows(mask.flatten(), *pair) for pair in zip(new, old, strict=True))
        start = torch.where(mask, initial._shifted(size), self._shifted(size))
        dropped = max(log.cursor.dropped + log.length for log in (initial, self)) - size  # keeps positions above -1
        window_start = size - max(log.length - log.cursor.window_start for log in (initial, self))
        assert rows is not None
        return RowLog._of(
            rows,
            start,
            self.slots,
            window_start=max(0, window_start),
            dropped=dropped,
            spare=_INITIAL_STEPS,
            has_invalid_rows=True,
            pending=pending,
        )

    def _padded(self, size: int) -> tuple[PendingRows, PendingRows | None]:
        """The window with padding rows in front, so that it has `size` rows; and the pending rows."""
        key, value, valid = self._window()
        padding = size - key.shape[1]
        valid = None if valid is None else pad(valid, (padding, 0))
        return PendingRows(pad(key, (0, 0, padding, 0)), pad(value, (0, 0, padding, 0)), valid), self.pending

    def _shifted(self, size: int) -> Tensor:
        """`start` if the window is padded to `size` rows."""
        return self._rest()["start"] + size - (self.length - self._oldest)

    def index(self, rows: Tensor, axis: int = 0) -> "RowLog":
        def select(part: Tensor) -> Tensor:
            return part.unflatten(0, self.start.shape).index_select(axis, rows).flatten(0, self.start.dim() - 1)

        return self._map_rows(select)._with(self._rest()["start"].index_select(axis, rows))

    def fold(self) -> "RowLog":
        return self._with(self.start.flatten(0, 1))

    def unfold(self, n: int) -> "RowLog":
        return self._with(self.start.unflatten(0, (-1, n)))

    def _with(self, start: Tensor, has_invalid_rows: bool = False) -> "RowLog":
        cursor = self.cursor._replace(has_invalid_rows=self.cursor.has_invalid_rows or has_invalid_rows)
        return RowLog(self.store, self.handles, start, self.slots, cursor, self.pending)

    def pack(self) -> dict[str, Any]:
        rows = _map_parts(Tensor.detach, self._window())
        pending = _map_parts(lambda part: part.detach().clone(), self.pending)
        return {
            "rows": list(rows),
            "pending": None if pending is None else list(pending),
            **self._rest(),
        }

    def unpack(self, packed: dict[str, Any]) -> "RowLog":
        keys = {"rows", "pending", "start", "window_start", "dropped", "has_invalid_rows"}
        if not isinstance(packed, dict) or set(packed) != keys:
            raise ValueError(
                f"packed log: got {type(packed).__name__}, want a dict with the keys {', '.join(sorted(keys))}; "
                "unpack it with the initial state of the core that packed it"
            )
        rest = dict(packed)
        rows, pending = rest.pop("rows"), rest.pop("pending")
        pending = None if pending is None else PendingRows(*pending)
        return RowLog._of(PendingRows(*rows), slots=self.slots, spare=_INITIAL_STEPS, pending=pending, **rest)


def _map_parts(function: Any, rows: Any) -> Any:
    """Rows with `function` applied to each tensor; None stays None."""
    return rows if rows is None else PendingRows._make(None if part is None else function(part) for part in rows)


def _select_rows(mask: Tensor, initial: PendingRows | None, old: PendingRows | None) -> PendingRows | None:
    """New rows in the stores of mask, old ones elsewhere; missing rows are replaced by invalid ones."""
    if initial is None and old is None:
        return None
    like = old if old is not None else initial
    assert like is not None
    padding = mask.new_zeros(like.key.shape[:2])
    invalid = PendingRows(torch.zeros_like(like.key), torch.zeros_like(like.value), padding)
    new, old = (rows if rows is not None else invalid for rows in (initial, old))
    key, value = (torch.where(mask.view(-1, 1, 1), a, b) for a, b in zip(new[:2], old[:2], strict=True))
    if new.valid is None and old.valid is None:
        return PendingRows(key, value)
    new_valid, old_valid = (
        mask.new_ones(rows.key.shape[:2]) if rows.valid is None else rows.valid for rows in (new, old)
    )
    return PendingRows(key, value, torch.where(mask.view(-1, 1), new_valid, old_valid))
