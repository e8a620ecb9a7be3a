"""An episode's memory: a sliding window over an append-only log.

A circular buffer of `slots` rows is exactly a window over rows that are written once and never change. So nothing is
cloned at each step, and cost and memory grow with the length of the episode T, not with T x slots: the idea of Sparse
Access Memory (Rae et al. 2016, sec. 3.4), without its undo records, for an append needs no undoing.

How gradients flow. The storage is plain and written in place; beside it travels a *handle*, a stride-0 tensor of the
storage's shape that takes no memory and whose gradient **is** the gradient of the log. One function a step writes and
reads; its backward pass adds the read's part to the incoming handle gradient, hands out the part of the row that it
wrote, and passes the rest on. Saved for each step: query, places and weights of the read.

Shapes: S stores, C capacity, R rows in the window, M queries a store, n rows written a step, W row width, k rows read.
A row is [key | value | flag]; the flag is 1 in a row that counts and 0 in one that is void (never written, absent).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from experts.state import Leaf

_ROOM = 32  # rows' worth of steps in a first storage


def _softmax(scores: Tensor, valid: Tensor) -> Tensor:
    return torch.softmax(scores, -1) * valid


def _softmax_grad(grad: Tensor, weights: Tensor, scores: Tensor, valid: Tensor) -> Tensor:
    return weights * (grad - (weights * grad).sum(-1, keepdim=True))


def _raw(scores: Tensor, valid: Tensor) -> Tensor:
    return scores * valid


def _raw_grad(grad: Tensor, weights: Tensor, scores: Tensor, valid: Tensor) -> Tensor:
    return grad * valid


NEAREST = 1e-3  # added to a squared distance before it is inverted (Pritzel et al. 2017, eq. 5)


def _inverse(scores: Tensor, valid: Tensor) -> Tensor:
    nearness = valid / (NEAREST - scores)
    total = nearness.sum(-1, keepdim=True)
    return nearness / torch.where(total > 0, total, 1)


def _inverse_grad(grad: Tensor, weights: Tensor, scores: Tensor, valid: Tensor) -> Tensor:
    return _softmax_grad(grad, weights, scores, valid) / (NEAREST - scores)


WEIGHTINGS: dict[str, tuple[Callable[..., Tensor], Callable[..., Tensor]]] = {
    "softmax": (_softmax, _softmax_grad),
    "similarity": (_raw, _raw_grad),
    "inverse_distance": (_inverse, _inverse_grad),
}


class Attend(NamedTuple):
    """How a log is read: the `top_k` rows most similar to the query, summed with the weights that `weighting` gives.

    distance: similarity is minus the squared distance; else the dot product.
    """

    key_size: int
    top_k: int
    distance: bool
    weighting: str


class _Span(NamedTuple):
    """Where a step writes and reads, in rows of the storage: [at, at + n) is written, then [lo, at + n) is read."""

    at: int
    n: int
    lo: int


def _similarity(query: Tensor, keys: Tensor, attend: Attend) -> Tensor:
    """(S, M, K), (S, M, k, K) -> (S, M, k)"""
    if attend.distance:
        return -(query.unsqueeze(-2) - keys).square().sum(-1)
    return (keys @ query.unsqueeze(-1)).squeeze(-1)


def _pick(data: Tensor, index: Tensor, lo: int) -> Tensor:
    """Rows at (S, M, k) places of the window from lo: (S, M, k, W). -1 gives its first, which a weight of 0 cancels."""
    stores, capacity, width = data.shape
    flat = _flat(index, capacity, lo)
    return data.reshape(stores * capacity, width).index_select(0, flat).view(*index.shape, width)


def _flat(index: Tensor, capacity: int, lo: int) -> Tensor:
    offsets = torch.arange(lo, lo + index.shape[0] * capacity, capacity, device=index.device)
    return (index.clamp(min=0) + offsets.view(-1, 1, 1)).flatten()


def _read(data: Tensor, query: Tensor, start: Tensor, span: _Span, attend: Attend) -> tuple[Tensor, Tensor, Tensor]:
    """(S, M, V) read, with places in the window and weights (S, M, top_k); a place of -1 stands for no row.

    Places count from span.lo: a checkpointed step runs again on a copy of the window, which lies elsewhere.
    """
    window = data[:, span.lo : span.at + span.n]  # (S, R, W)
    size = window.shape[1]
    positions = torch.arange(span.lo, span.lo + size, device=data.device)
    valid = (window[..., -1] > 0) & (positions >= start.unsqueeze(-1))  # (S, R)
    scores = query @ window[..., : attend.key_size].mT  # (S, M, R)
    if attend.distance:
        scores = 2 * scores - window[..., : attend.key_size].square().sum(-1).unsqueeze(1)  # + |q|^2: the same order
    lowest = torch.finfo(scores.dtype).min
    scores = scores.masked_fill(~valid.unsqueeze(1), lowest)
    best, index = scores.topk(min(attend.top_k, size), -1, sorted=False)  # (S, M, k)
    chosen = best > lowest
    index = torch.where(chosen, index, -1)
    rows = _pick(data, index, span.lo)
    if attend.distance:  # again, without the cancellation
        best = torch.where(chosen, _similarity(query, rows[..., : attend.key_size], attend), lowest)
    weights = WEIGHTINGS[attend.weighting][0](best, chosen)
    read = (weights.unsqueeze(-2) @ rows[..., attend.key_size : -1]).squeeze(-2)
    missing = attend.top_k - index.shape[-1]
    if missing:  # the first steps of an episode: keep the shape of the state
        index = torch.nn.functional.pad(index, (0, missing), value=-1)
        weights = torch.nn.functional.pad(weights, (0, missing))
    return read, index, weights


class _WriteRead(Function):
    """Writes rows into the storage, then reads it. See the module's docstring for the flow of gradients."""

    generate_vmap_rule = True

    @staticmethod
    def forward(data, handle, rows, query, start, span, attend):
        data[:, span.at : span.at + span.n] = rows
        read, index, weights = _read(data, query, start, span, attend)
        return read, data.new_zeros(()).expand(data.shape), index, weights

    @staticmethod
    def setup_context(ctx, inputs, output):
        data, _, _, query, _, ctx.span, ctx.attend = inputs
        _, _, index, weights = output
        ctx.data = data  # not saved: the version check would refuse the rows that later steps append
        ctx.mark_non_differentiable(index, weights)
        ctx.set_materialize_grads(False)  # zeros made by autograd would not be batched under vmap(grad)
        ctx.save_for_backward(query, index, weights)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_read, grad_log, *_):
        query, index, weights = ctx.saved_tensors
        if grad_read is None:
            grad_read = query.new_zeros(*query.shape[:-1], ctx.data.shape[-1] - ctx.attend.key_size - 1)
        attend, span, size = ctx.attend, ctx.span, ctx.attend.key_size
        rows, valid = _pick(ctx.data, index, span.lo), index >= 0
        keys, values = rows[..., :size], rows[..., size:-1]
        scores = torch.where(valid, _similarity(query, keys, attend), 0)
        grad_weights = (values @ grad_read.unsqueeze(-1)).squeeze(-1)
        grad_scores = WEIGHTINGS[attend.weighting][1](grad_weights, weights, scores, valid).unsqueeze(-1)
        if attend.distance:
            grad_keys = 2 * grad_scores * (query.unsqueeze(-2) - keys)
            grad_query = -grad_keys.sum(-2)
        else:
            grad_keys = grad_scores * query.unsqueeze(-2)
            grad_query = (grad_scores.mT @ keys).squeeze(-2)
        grad_values = weights.unsqueeze(-1) * grad_read.unsqueeze(-2)
        grad_rows = torch.cat([grad_keys, grad_values, torch.zeros_like(grad_scores)], -1)  # (S, M, k, W)
        if grad_log is None:
            grad_log = grad_rows.new_zeros(ctx.data.shape)
        grad_log = grad_log.contiguous()  # ours alone: it came down the chain of handles, or was made just now
        width = grad_log.shape[-1]
        grad_log.view(-1, width).index_add_(0, _flat(index, grad_log.shape[1], span.lo), grad_rows.reshape(-1, width))
        return None, grad_log, grad_log[:, span.at : span.at + span.n], grad_query, None, None, None


class _Rows(Function):
    """A stretch of the log as an ordinary tensor."""

    generate_vmap_rule = True

    @staticmethod
    def forward(data, handle, lo, hi):
        return data[:, lo:hi].clone()

    @staticmethod
    def setup_context(ctx, inputs, output):
        data, _, ctx.lo, ctx.hi = inputs
        ctx.capacity = data.shape[1]

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        grad_log = grad.new_zeros(grad.shape[0], ctx.capacity, grad.shape[2])
        grad_log[:, ctx.lo : ctx.hi] = grad
        return None, grad_log, None, None


class _Adopt(Function):
    """An ordinary tensor of rows as the beginning of a new log."""

    generate_vmap_rule = True

    @staticmethod
    def forward(rows, capacity):
        data = rows.new_zeros(rows.shape[0], capacity, rows.shape[2])
        data[:, : rows.shape[1]] = rows
        return data, data.new_zeros(()).expand(data.shape)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.size = inputs[0].shape[1]
        ctx.mark_non_differentiable(output[0])

    @staticmethod
    @once_differentiable
    def backward(ctx, _, grad_log):
        return grad_log[:, : ctx.size], None


class _Store:
    """Storage that several logs of one history share; `used` rows of it are written."""

    __slots__ = ("data", "used")

    def __init__(self, data: Tensor, used: int):
        self.data, self.used = data, used


class _Place(NamedTuple):
    """Where a log stands, on the host. length: rows written before it; lo: the first row that its last read could
    see; dropped: rows that earlier copies left behind; graph: rows may carry gradients."""

    length: int
    lo: int
    dropped: int
    graph: bool


class Log(Leaf):
    """One moment of an append-only log: the rows before `length`, of which the last `slots` count.

    A log is a value. Stepping an old one again branches: its window is copied, the newer history stays as it was.
    Without gradients the storage is bounded, for it is cut back to the window whenever it is full.
    """

    def __init__(self, store: _Store, handle: Tensor, start: Tensor, slots: int, at: "_Place"):
        self.store, self.handle, self.start, self.slots, self.at = store, handle, start, slots, at

    @classmethod
    def empty(cls, like: Tensor, lead: tuple[int, ...], width: int, slots: int) -> "Log":
        """A log without rows. like: any tensor, for dtype and device; lead: the leading axes, (B,) or (B, N)."""
        start = like.new_zeros(lead, dtype=torch.long)
        return cls._of(like.new_zeros(start.numel(), 0, width), start, slots)

    @classmethod
    def _of(cls, rows: Tensor, start: Tensor, slots: int, lo: int = 0, dropped: int = 0, room: int = _ROOM) -> "Log":
        data, handle = _Adopt.apply(rows, rows.shape[1] + room)
        at = _Place(rows.shape[1], lo, dropped, torch.is_grad_enabled())
        return cls(_Store(data, rows.shape[1]), handle, start, slots, at)

    @property
    def length(self) -> int:
        """Rows before this moment that the storage still holds."""
        return self.at.length

    def rows(self) -> Tensor:
        """The rows that the last read could see, (S, R, W), oldest first; gradients flow through them."""
        return _Rows.apply(self.store.data, self.handle, self.at.lo, self.length)

    def valid(self) -> Tensor:
        """Which of `rows()` count, (S, R)."""
        positions = torch.arange(self.at.lo, self.length, device=self.start.device)
        return (self.store.data[:, self.at.lo : self.length, -1] > 0) & (positions >= self.start.reshape(-1, 1))

    @torch._disable_dynamo  # torch.compiler.disable, which would load the compiler with `import badger`
    def write_read(self, rows: Tensor, query: Tensor, attend: Attend) -> tuple[Tensor, Tensor, Tensor, "Log"]:
        """Appends rows (S, n, W), then reads with query (S, M, K).

        Returns (S, M, V) values, the positions and weights (S, M, top_k) of the rows they come from, and the new log.
        Positions count rows since the episode batch began; -1 stands for no row.
        """
        n = rows.shape[1]
        log = self._with_room(n)
        store, place = log.store, log.at
        span = _Span(log.length, n, max(0, log.length + n - self.slots // n * n))
        start, handle = log.start.flatten(), log.handle
        if torch.is_grad_enabled():
            read, handle, index, weights = _WriteRead.apply(store.data, handle, rows, query, start, span, attend)
        else:
            store.data[:, span.at : span.at + n] = rows
            read, index, weights = _read(store.data, query, start, span, attend)
        store.used = span.at + n
        new = Log(store, handle, log.start, self.slots, place._replace(length=span.at + n, lo=span.lo))
        return read, torch.where(index < 0, index, index + span.lo + place.dropped), weights, new

    @property
    def _oldest(self) -> int:
        return max(0, self.length - self.slots)

    def _kept(self) -> Tensor:
        return _Rows.apply(self.store.data, self.handle, self._oldest, self.length)

    def _with_room(self, n: int) -> "Log":
        """Self where n rows fit behind it; else a copy of the window: branched, full, or leaving a graph behind."""
        fits = self.length == self.store.used and self.length + n <= self.store.data.shape[1]
        graph = torch.is_grad_enabled()
        if fits and (graph or not self.at.graph):
            return Log(self.store, self.handle, self.start, self.slots, self.at._replace(graph=graph))
        kept = self.length - self._oldest
        return self._copy(self._kept(), max((3 if graph else 1) * kept, _ROOM * n))

    def _copy(self, rows: Tensor, room: int = _ROOM) -> "Log":
        """A log of its own with these rows in the place of the kept ones."""
        start = (self.start - self._oldest).clamp(min=0)
        lo = max(0, self.at.lo - self._oldest)
        return Log._of(rows, start, self.slots, lo, self.at.dropped + self._oldest, room)

    def detach(self) -> "Log":
        return self._copy(self._kept().detach())

    def where(self, mask: Tensor, fresh: Leaf) -> "Log":
        assert isinstance(fresh, Log)
        mask = mask.reshape(mask.shape + (1,) * (self.start.dim() - mask.dim())).expand(self.start.shape)
        if fresh.length == 0:  # a reset hides the rows before it, and moves nothing
            return self._with(torch.where(mask, self.length, self.start))
        size = max(fresh.length - fresh._oldest, self.length - self._oldest)
        new, old = fresh._padded(size), self._padded(size)
        rows = torch.where(mask.reshape(-1, 1, 1), new._kept(), old._kept())
        start = torch.where(mask, new.start, old.start)
        dropped = max(log.at.dropped + log.length for log in (fresh, self)) - size  # positions stay above -1
        lo = size - max(log.length - log.at.lo for log in (fresh, self))
        return Log._of(rows, start, self.slots, max(0, lo), dropped)

    def _padded(self, size: int) -> "Log":
        """Void rows in front, so that windows of different lengths end together."""
        rows = self._kept()
        void = size - rows.shape[1]
        log = self._copy(torch.nn.functional.pad(rows, (0, 0, void, 0)))
        return log._with(log.start + void)

    def index(self, rows: Tensor, axis: int = 0) -> "Log":
        window = self._kept()
        lead = window.view(*self.start.shape, *window.shape[1:]).index_select(axis, rows)
        log = self._copy(lead.flatten(0, self.start.dim() - 1))
        return log._with(log.start.index_select(axis, rows))

    def fold(self) -> "Log":
        return self._with(self.start.flatten(0, 1))

    def unfold(self, n: int) -> "Log":
        return self._with(self.start.unflatten(0, (-1, n)))

    def _with(self, start: Tensor) -> "Log":
        return Log(self.store, self.handle, start, self.slots, self.at)

    def pack(self) -> dict[str, Any]:
        log = self.detach()
        rows = log.store.data[:, : log.length].clone()  # a view would be saved with the whole storage
        return {"rows": rows, "start": log.start.clone(), "lo": log.at.lo, "dropped": log.at.dropped}

    def unpack(self, packed: dict[str, Any]) -> "Log":
        wanted = {"rows", "start", "lo", "dropped"}
        if not isinstance(packed, dict) or set(packed) != wanted:
            raise ValueError(f"no packed log: got {type(packed).__name__}, want a dict of {', '.join(sorted(wanted))}")
        return Log._of(packed["rows"], packed["start"], self.slots, packed["lo"], packed["dropped"])
