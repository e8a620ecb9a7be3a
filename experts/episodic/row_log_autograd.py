"""Columns of a log: storage that is written in place, and the functions through which gradients pass it.

How gradients flow. The storage is plain and written in place; beside it travel *handles*, stride-0 tensors of the
storage's shape that take no memory and whose gradient **is** the gradient of the log. One function a step writes and
reads; its backward pass adds the read's part to the incoming handles' gradients, hands out the part of the row that it
wrote, and passes the rest on. Saved for each step: query, places, scores and weights of the read.

Shapes: S stores, C capacity, R rows in the window, M queries a store, n rows written a step, K key, V value, k rows
read.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function

from experts.episodic.top_k_read import TopKRows
from experts.second_derivatives import first_order_only, note_recorded

rows_written_in_place = first_order_only(
    "A memory whose rows are written in place (EpisodicMemory, LookupTable)",
    "ClusteredMemory(..., threshold=2), a ring buffer that never merges rows, has them.",
)


class Span(NamedTuple):
    """Where a step writes and reads, in rows of the storage: [at, end) is written, then [lo, end) is read.

    Places of rows count from lo: a checkpointed step runs again on a copy of the window, which lies elsewhere.
    """

    write_start: int
    end: int
    window_start: int

    def valid(self, start: Tensor, flags: Tensor | None) -> Tensor:
        """Which rows of the window count, (S, R)."""
        late = torch.arange(self.window_start, self.end, device=start.device) >= start.unsqueeze(-1)
        return late if flags is None else late & flags[:, self.window_start : self.end]


class WriteRead(Function):
    """Writes rows into the storage, then reads it. See the module's docstring for the flow of gradients."""

    @staticmethod
    def forward(*inputs):  # without names: `apply` would bind them anew in each call
        keys, values, _, _, key, value, query, valid, span, attend = inputs
        keys[:, span.write_start : span.end] = key
        values[:, span.write_start : span.end] = value
        read, index, scores, weights = attend.read(query, keys, values, span.window_start, span.end, valid)
        nothing = keys.new_zeros(())
        return read, nothing.expand(keys.shape), nothing.expand(values.shape), index, scores, weights

    @staticmethod
    def setup_context(ctx, inputs, output):
        # the storage is not saved: the version check would refuse the rows that later steps append
        ctx.keys, ctx.values, *_, query, valid, ctx.span, ctx.attend = inputs
        ctx.partial = valid is not None
        note_recorded(ctx, inputs[2:])
        ctx.mark_non_differentiable(*output[3:])
        ctx.set_materialize_grads(False)  # zeros made by autograd would not be batched under vmap(grad)
        index, scores, weights = output[3:]
        kept = scores if ctx.attend.needs_scores else weights  # which are kept in any case
        ctx.save_for_backward(query, index, kept, weights)

    @staticmethod
    @rows_written_in_place
    def backward(ctx, grad_read, grad_keys, grad_values, *_):
        query, index, scores, weights = ctx.saved_tensors
        if grad_read is None:
            grad_read = query.new_zeros(*query.shape[:-1], ctx.values.shape[-1])
        span, storage = ctx.span, (ctx.keys, ctx.values)
        grads = owned_grad(grad_keys, ctx.keys, grad_read), owned_grad(grad_values, ctx.values, grad_read)
        found = TopKRows(index, span.window_start, span.end, ctx.keys.shape[1], ctx.partial)
        grad_query = ctx.attend.backward(grad_read, query, found, scores, weights, storage, grads)
        written = [grad[:, span.write_start : span.end] for grad in grads]
        return None, None, *grads, *written, grad_query, *[None] * 3

    @staticmethod
    def vmap(info, in_dims, *inputs):
        """Stores know nothing of each other: those of a population are more of them, (P, S, ...) -> (P S, ...)."""
        *tensors, span, attend = inputs
        if in_dims[0] is None:  # folded it would be a copy, and what is written there be lost
            raise RuntimeError(
                "rows that vmap maps are written into a log that it does not map; begin the log inside of the mapped "
                "function, from a tensor that is mapped"
            )
        folded = [_folded(x, axis, info.batch_size) for x, axis in zip(tensors, in_dims, strict=False)]
        outputs = WriteRead.apply(*folded, span, attend)
        return tuple(x.unflatten(0, (info.batch_size, -1)) for x in outputs), (0,) * len(outputs)


def _folded(x: Tensor | None, axis: int | None, size: int) -> Tensor | None:
    """The mapped axis and the stores as one. The storage is mapped along axis 0 and so stays the same memory."""
    if x is None:
        return None
    return (x.expand(size, *x.shape) if axis is None else x.movedim(axis, 0)).flatten(0, 1)


def owned_grad(grad: Tensor | None, data: Tensor, like: Tensor) -> Tensor:
    """The gradient of a column of the log, to be added to in place: it came down the chain of handles, and is ours.

    like: another gradient of the step, for a new one must be batched wherever that is (vmap).
    """
    return like.new_zeros(data.shape) if grad is None else grad.contiguous()


class SliceColumn(Function):
    """A stretch of a column as an ordinary tensor."""

    generate_vmap_rule = True

    @staticmethod
    def forward(data, handle, lo, hi):
        return data[:, lo:hi].clone()

    @staticmethod
    def setup_context(ctx, inputs, output):
        data, _, ctx.lo, ctx.hi = inputs
        ctx.capacity = data.shape[1]

    @staticmethod
    def backward(ctx, grad):
        grad_log = grad.new_zeros(grad.shape[0], ctx.capacity, grad.shape[2])
        grad_log[:, ctx.lo : ctx.hi] = grad
        return None, grad_log, None, None


class NewColumn(Function):
    """An ordinary tensor of rows as the beginning of a new column."""

    generate_vmap_rule = True

    @staticmethod
    def forward(rows, capacity):
        data = rows.new_empty(rows.shape[0], capacity, rows.shape[2])
        data[:, : rows.shape[1]] = rows
        return data, data.new_zeros(()).expand(data.shape)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.size = inputs[0].shape[1]
        ctx.mark_non_differentiable(output[0])

    @staticmethod
    def backward(ctx, _, grad_log):
        return grad_log[:, : ctx.size], None
