"""Autograd functions of a row log: writes in place, reads, and slices of its columns (keys, values).

Gradient flow: the storage has no graph and is written in place. *Handles* accompany it: stride-0 tensors of the
storage's shape, which take no memory and whose gradient **is** the gradient of the log. One function a step writes and
reads. Its backward pass adds the gradient of the read to the incoming gradients of the handles, returns the slice of
the rows that it wrote, and passes the handles' gradients to the previous step. Each step saves query, indices, scores
and weights of its read.

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
    """Rows of the storage of one step: [write_start, end) is written, then [window_start, end) is read.

    Row indices are relative to window_start, since a checkpointed step is recomputed on a copy of the window.
    """

    write_start: int
    end: int
    window_start: int

    def valid(self, start: Tensor, valid_rows: Tensor | None) -> Tensor:
        """Valid rows of the window, (S, R): those from `start` on that are set in `valid_rows`."""
        recent = torch.arange(self.window_start, self.end, device=start.device) >= start.unsqueeze(-1)
        return recent if valid_rows is None else recent & valid_rows[:, self.window_start : self.end]


class WriteRead(Function):
    """Writes rows into the storage, then reads it. The module's docstring describes the gradient flow."""

    @staticmethod
    def forward(*inputs):  # unnamed: `apply` binds named parameters in each call, which is slow
        keys, values, _, _, key, value, query, valid, span, attend = inputs
        keys[:, span.write_start : span.end] = key
        values[:, span.write_start : span.end] = value
        read, index, scores, weights = attend.read(query, keys, values, span.window_start, span.end, valid)
        zero = keys.new_zeros(())
        return read, zero.expand(keys.shape), zero.expand(values.shape), index, scores, weights

    @staticmethod
    def setup_context(ctx, inputs, output):
        # the storage is not saved: the version check would refuse the rows that later steps append
        ctx.keys, ctx.values, *_, query, valid, ctx.span, ctx.attend = inputs
        ctx.partial = valid is not None
        note_recorded(ctx, inputs[2:])
        ctx.mark_non_differentiable(*output[3:])
        ctx.set_materialize_grads(False)  # zeros made by autograd would not be batched under vmap(grad)
        index, scores, weights = output[3:]
        saved_scores = scores if ctx.attend.needs_scores else weights
        ctx.save_for_backward(query, index, saved_scores, weights)

    @staticmethod
    @rows_written_in_place
    def backward(ctx, grad_read, grad_keys, grad_values, *_):
        query, index, scores, weights = ctx.saved_tensors
        if grad_read is None:
            grad_read = query.new_zeros(*query.shape[:-1], ctx.values.shape[-1])
        span, storage = ctx.span, (ctx.keys, ctx.values)
        grads = owned_grad(grad_keys, ctx.keys, grad_read), owned_grad(grad_values, ctx.values, grad_read)
        rows = TopKRows(index, span.window_start, span.end, ctx.keys.shape[1], ctx.partial)
        grad_query = ctx.attend.backward(grad_read, query, rows, scores, weights, storage, grads)
        written = [grad.narrow(1, span.write_start, span.end - span.write_start) for grad in grads]
        return None, None, *grads, *written, grad_query, *[None] * 3

    @staticmethod
    def vmap(info, in_dims, *inputs):
        """Stores are independent, so a mapped axis is folded into theirs, (P, S, ...) -> (P S, ...)."""
        *tensors, span, attend = inputs
        if in_dims[0] is None:  # the folded storage would be a copy, and the written rows would be lost
            raise RuntimeError(
                "vmap maps the rows, but not the log that they are written to; want both mapped: create the initial "
                "state inside the mapped function, from a mapped tensor"
            )
        folded = [_folded(x, axis, info.batch_size) for x, axis in zip(tensors, in_dims, strict=False)]
        outputs = WriteRead.apply(*folded, span, attend)
        return tuple(x.unflatten(0, (info.batch_size, -1)) for x in outputs), (0,) * len(outputs)


def _folded(x: Tensor | None, axis: int | None, size: int) -> Tensor | None:
    """Folds the mapped axis into the stores. The storage is mapped along axis 0 and so stays the same memory."""
    if x is None:
        return None
    return (x.expand(size, *x.shape) if axis is None else x.movedim(axis, 0)).flatten(0, 1)


def owned_grad(grad: Tensor | None, data: Tensor, like: Tensor) -> Tensor:
    """The gradient of a column, which may be changed in place, as only the chain of handles uses it.

    like: another gradient of the step; a new tensor is batched as it is under vmap.
    """
    return like.new_zeros(data.shape) if grad is None else grad.contiguous()


class SliceColumn(Function):
    """Rows start to end of a column as an ordinary tensor."""

    generate_vmap_rule = True

    @staticmethod
    def forward(data, handle, start, end):
        return data[:, start:end].clone()

    @staticmethod
    def setup_context(ctx, inputs, output):
        data, _, ctx.start, ctx.end = inputs
        ctx.capacity = data.shape[1]

    @staticmethod
    def backward(ctx, grad):
        grad_column = grad.new_zeros(grad.shape[0], ctx.capacity, grad.shape[2])
        grad_column[:, ctx.start : ctx.end] = grad
        return None, grad_column, None, None


class NewColumn(Function):
    """A new column that begins with the rows of an ordinary tensor."""

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
    def backward(ctx, _, grad_column):
        return grad_column[:, : ctx.size], None
