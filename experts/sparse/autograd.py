"""Backward passes of a write to few slots of a memory, and of a read of few, without a copy of the memory.

A *handle*, a stride-0 tensor of the memory's shape, carries the gradient of the memory from step to step, as in
`experts.episodic.row_log_autograd`; each backward pass changes this gradient at the slots that were touched.

Shapes: as in `experts.sparse.arrays`.
"""

from mmap import ACCESS_COPY, mmap

import torch
from torch import Tensor
from torch.autograd import Function

from experts.second_derivatives import first_order_only
from experts.sparse.arrays import IN_PLACE, clean, take, wide, write
from experts.torch_internals import is_batched

MAPPED = 1 << 20  # bytes; less is written as quickly

written_in_place = first_order_only(
    "A sparse memory (SAM, SDNC), which is written in place,",
    "Under torch.func (torch.func.grad of torch.func.grad) it is computed by plain operations, which have them.",
)


def _owned(grad_handle: Tensor | None, like: Tensor, shape: torch.Size) -> Tensor:
    """The gradient of the memory, which may be changed in place, as only the chain of handles uses it."""
    return untouched_zeros(like, shape) if grad_handle is None else grad_handle.contiguous()


def untouched_zeros(like: Tensor, shape: torch.Size) -> Tensor:
    """Zeros, of which pages that are never written take neither time nor memory on the CPU.

    torch writes its zeros, which is half the time of a step with a million slots; those of a new mapping are there.

    Args:
        like: gives dtype and device.
        shape: of the result.
    """
    size = shape.numel() * like.element_size()
    if size < MAPPED or type(like) is not Tensor or like.device.type != "cpu" or is_batched(like):
        return like.new_zeros(shape)
    return torch.frombuffer(mmap(-1, size, access=ACCESS_COPY), dtype=like.dtype).view(shape)


class WriteFunction(Function):
    """`clean` and `write`, in place."""

    @staticmethod
    def forward(ctx, arrays, handle, rows, erases, start, undo, weights, add):
        arrays, stale = clean(IN_PLACE, arrays, rows, start, undo)
        write(IN_PLACE, arrays, rows, erases, weights, add, undo)
        ctx.shape = arrays.memory.shape
        ctx.save_for_backward(rows, erases, stale, weights, add)
        ctx.set_materialize_grads(False)
        return arrays.memory.new_zeros(()).expand(ctx.shape)

    @staticmethod
    @written_in_place
    def backward(ctx, grad_handle):
        rows, erases, stale, weights, add = ctx.saved_tensors
        if grad_handle is None:
            return (None,) * 8
        grad = _owned(grad_handle, add, ctx.shape)
        grad_rows = take(grad, rows)  # (S, M, L, W)
        grad_weights = (grad_rows @ add.unsqueeze(-1)).squeeze(-1)
        grad_add = (weights.unsqueeze(-2) @ grad_rows).squeeze(-2)
        IN_PLACE.zero(grad, rows[..., -1], erases)
        if stale is not None:
            IN_PLACE.zero(grad, rows, stale)
        return None, grad, None, None, None, None, grad_weights, grad_add


class ReadFunction(Function):
    """`clean`, in place, and the content of slots."""

    @staticmethod
    def forward(ctx, arrays, handle, rows, start, undo):
        arrays, stale = clean(IN_PLACE, arrays, rows, start, undo)
        ctx.shape = arrays.memory.shape
        ctx.save_for_backward(rows, stale)
        ctx.set_materialize_grads(False)
        return take(arrays.memory, rows), arrays.memory.new_zeros(()).expand(ctx.shape)

    @staticmethod
    @written_in_place
    def backward(ctx, grad_content, grad_handle):
        rows, stale = ctx.saved_tensors
        if grad_content is None:
            return None, grad_handle, None, None, None
        grad = _owned(grad_handle, grad_content, ctx.shape)
        grad.scatter_add_(1, wide(rows, grad), grad_content.flatten(1, -2))
        if stale is not None:
            IN_PLACE.zero(grad, rows, stale)
        return None, grad, None, None, None
