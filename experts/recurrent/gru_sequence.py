"""A GRU over whole sequences of few rows as one autograd function: the recurrent part by a kernel in C.

Products with the inputs and gradients of the weights are matrix products of torch over all steps at once. The kernel
starts rows anew, so that sequences are not split at resets.

Shapes: T step, B episode, N members, R = B N rows, D input, H hidden.
"""

import ctypes
from functools import partial
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.autograd import Function

from experts.kernels.library import addresses, kernel, usable
from experts.recurrent.gru_step import plain_step
from experts.second_derivatives import differentiable_gradients
from experts.torch_internals import is_batched

MAX_ROWS, MAX_HIDDEN = 64, 128
"""The largest sizes for which the kernel was measured: .2 to .5 of the time of torch's function."""

ARGUMENTS = *[ctypes.c_int64] * 3, *[ctypes.c_void_p] * 9


def plain_sequence(reset: Tensor | None, xs: Tensor, h: Tensor, *parameters: Tensor) -> tuple[Tensor, Tensor]:
    """The states (T, R, H) after all steps and the last of them, by tensor operations.

    Args:
        reset: (T, R) the state is zero before these steps; None: never.
        xs: the inputs (T, R, D).
        h: the first state (R, H).
        parameters: weight_ih, weight_hh, bias_ih and bias_hh.
    """
    ys = []
    for t, x in enumerate(xs):
        if reset is not None:
            h = h.masked_fill(reset[t].unsqueeze(-1), 0)
        h = plain_step(x, h, *parameters)
        ys.append(h)
    return torch.stack(ys), h


class GRUSequenceFunction(Function):
    """(reset, xs, h, weight_ih, weight_hh, bias_ih, bias_hh) -> states and last state, equal to `plain_sequence`."""

    @staticmethod
    def forward(ctx: Any, reset: Tensor | None, xs: Tensor, h: Tensor, *parameters: Tensor) -> tuple[Tensor, Tensor]:
        weight_ih, weight_hh, bias_ih, bias_hh = parameters
        (steps, rows, _), size = xs.shape, h.shape[-1]
        x_proj = torch.addmm(bias_ih, xs.flatten(0, 1), weight_ih.t())
        scratch, saved = h.new_empty(rows, 3 * size), h.new_empty(steps, rows, 4 * size)
        previous, ys = (h.new_empty(steps, rows, size) for _ in range(2))
        bytes_, first = None if reset is None else reset.contiguous(), h.contiguous()
        weight, bias = weight_hh.t().contiguous(), bias_hh.contiguous()
        tensors = x_proj, bytes_, first, weight, bias, scratch, previous, ys, saved
        kernel("gru_sequence", h.dtype, *ARGUMENTS)(steps, rows, size, *addresses(tensors))
        ctx.save_for_backward(xs, h, *parameters, bytes_, previous, saved)
        return ys, ys[-1].clone()

    @staticmethod
    def backward(ctx: Any, grad_ys: Tensor, grad_last: Tensor) -> tuple[Tensor | None, ...]:
        *inputs, reset, previous, saved = ctx.saved_tensors
        if torch.is_grad_enabled() or is_batched(grad_ys) or is_batched(grad_last):
            grads = differentiable_gradients(partial(plain_sequence, reset), inputs, (grad_ys, grad_last))
            return None, *grads
        xs, h, weight_ih, weight_hh, *_ = inputs
        (steps, rows, _), size, needed = xs.shape, h.shape[-1], ctx.needs_input_grad[1:]
        to_x, to_h = (saved.new_empty(steps, rows, 3 * size) for _ in range(2))
        carry, scratch = grad_last.clone(memory_format=torch.contiguous_format), torch.empty_like(previous[0])
        weight = weight_hh.contiguous()
        tensors = grad_ys.contiguous(), reset, weight, previous, saved, scratch, carry, to_x, to_h
        kernel("gru_sequence_backward", h.dtype, *ARGUMENTS)(steps, rows, size, *addresses(tensors))
        to_x, to_h = to_x.flatten(0, 1), to_h.flatten(0, 1)
        return (
            None,
            (to_x @ weight_ih).view(xs.shape) if needed[0] else None,
            carry,
            to_x.t() @ xs.flatten(0, 1) if needed[2] else None,
            to_h.t() @ previous.flatten(0, 1) if needed[3] else None,
            to_x.sum(0) if needed[4] else None,
            to_h.sum(0) if needed[5] else None,
        )


def unroll_few_rows(
    xs: Float[Tensor, "T B N D"], h: Float[Tensor, "B N H"], reset: Bool[Tensor, "T B"] | None, *parameters: Tensor
) -> tuple[Float[Tensor, "T B N H"], Float[Tensor, "B N H"]] | None:
    """The states after all steps and the last of them, or None where the kernel does not apply.

    Args:
        xs: the inputs.
        h: the first state.
        reset: the state is zero before these steps; None: never.
        parameters: weight_ih, weight_hh, bias_ih and bias_hh.
    """
    rows, size = xs.shape[1] * xs.shape[2], h.shape[-1]
    applies = 0 < rows <= MAX_ROWS and size <= MAX_HIDDEN and xs.numel() > 0 and usable(xs, h, *parameters)
    if not applies or torch.is_autocast_enabled("cpu"):
        return None
    row_resets = None if reset is None else reset.repeat_interleave(xs.shape[2], 1)
    ys, last = GRUSequenceFunction.apply(row_resets, xs.flatten(1, 2), h.flatten(0, 1), *parameters)
    return ys.view(*xs.shape[:3], size), last.view(h.shape)
