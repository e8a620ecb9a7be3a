"""The backward pass of an access to a sparse memory, which touches the same few slots.

Shapes: as in `experts.sparse.access`.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from experts.activation_gradients import softmax_backward
from experts.second_derivatives import first_order_only
from experts.sparse.access import IN_PLACE, access, erases, gather, similarity_weights, wide


class AccessFunction(Function):
    """`access` in place, with a backward pass of the same few slots.

    A handle, a stride-0 tensor of the memory's shape, carries the gradient of the memory from access to access, as in
    `experts.episodic.row_log_autograd`. Saved are the slots that were read and written, never the memory.
    """

    @staticmethod
    def forward(ctx, arrays, handle, request, undo, weights, add, query, strength):
        _, result, records = access(IN_PLACE, arrays, request, weights, add, query, strength)
        undo += records
        ctx.shape, ctx.active = arrays.memory.shape, request.active
        saved = weights, add, query, strength, *result[1:]
        ctx.save_for_backward(*saved)
        outputs = *result, arrays.memory.new_zeros(()).expand(ctx.shape)
        ctx.mark_non_differentiable(*[x for x in result[2:] if x is not None])
        ctx.set_materialize_grads(False)
        return outputs

    @staticmethod
    @first_order_only(
        "SAM, whose memory is written in place,",
        "Under torch.func (torch.func.grad of torch.func.grad) it is computed by plain operations, which have them.",
    )
    def backward(ctx, *grads: Any):
        grad_read, grad_weights, grad_handle = grads[0], grads[1], grads[-1]
        write_weights, add, query, strength, weights, index, written, content, stale_written, stale_read = (
            ctx.saved_tensors
        )
        grad = query.new_zeros(ctx.shape) if grad_handle is None else grad_handle.contiguous()
        grad_read = torch.zeros_like(query) if grad_read is None else grad_read
        grad_weights = torch.zeros_like(weights) if grad_weights is None else grad_weights
        grad_content, grad_query, grad_strength = _read_backward(
            grad_read, grad_weights, query, strength, weights, content
        )
        grad.scatter_add_(1, wide(index, ctx.shape[-1]), grad_content.flatten(1, 2))
        if stale_read is not None:
            IN_PLACE.zero(grad, index, stale_read)
        grad_rows = gather(grad, written)  # (S, M, L, W)
        grad_write_weights = (grad_rows @ add.unsqueeze(-1)).squeeze(-1)
        grad_add = (write_weights.unsqueeze(-2) @ grad_rows).squeeze(-2)
        IN_PLACE.zero(grad, written[..., -1], erases(written, ctx.active))
        if stale_written is not None:
            IN_PLACE.zero(grad, written, stale_written)
        return None, grad, None, None, grad_write_weights, grad_add, grad_query, grad_strength


def _read_backward(
    grad_read: Tensor, grad_weights: Tensor, query: Tensor, strength: Tensor, weights: Tensor, content: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of the slots read, of queries and of strengths."""
    _, cosine, (query_norm, slot_norm) = similarity_weights(query, strength, content)
    grad_weights = grad_weights + (content @ grad_read.unsqueeze(-1)).squeeze(-1)
    grad_scores = softmax_backward(grad_weights, weights)
    grad_strength = (grad_scores * cosine).sum(-1)
    grad_cosine = grad_scores * strength.unsqueeze(-1)
    scaled = (grad_cosine * slot_norm).unsqueeze(-1)  # (S, M, K, 1)
    unit_query = query * query_norm
    grad_content = scaled * (unit_query.unsqueeze(-2) - (cosine * slot_norm).unsqueeze(-1) * content)
    grad_content = grad_content + weights.unsqueeze(-1) * grad_read.unsqueeze(-2)
    along = (grad_cosine * cosine).sum(-1, keepdim=True)
    grad_query = query_norm * ((scaled * content).sum(-2) - along * unit_query)
    return grad_content, grad_query, grad_strength
