"""One step of a GRU as one autograd function: the products by torch, the gates by a kernel in C.

Shapes: B episode, N members, D input, H hidden.
"""

import ctypes
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn.functional import linear

from experts.kernels.library import addresses, kernel, usable
from experts.second_derivatives import differentiable_gradients
from experts.torch_internals import is_batched

Tensors = tuple[Tensor, ...]


def supported(x: Tensor, h: Tensor, parameters: Tensors) -> bool:
    """Whether the kernel computes a step: on the CPU, in one dtype, where autograd records it.

    Args:
        x: the input (B, N, D).
        h: the old state (B, N, H).
        parameters: weight_ih, weight_hh, bias_ih and bias_hh.
    """
    return (
        torch.is_grad_enabled()
        and usable(x, h, *parameters)
        and x.shape[:-1] == h.shape[:-1]
        and not torch.is_autocast_enabled("cpu")
    )


def gates_and_candidate(x_proj: Tensor, h_proj: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The gates reset and keep (..., 2 H), the candidate, and the candidate's part of h_proj.

    Args:
        x_proj: W x + b of both gates and the candidate, (..., 3 H).
        h_proj: U h + b of the same.
    """
    size = x_proj.shape[-1] // 3
    gates_x, new_x = x_proj.split_with_sizes([2 * size, size], -1)
    gates_h, new_h = h_proj.split_with_sizes([2 * size, size], -1)
    gates = torch.sigmoid(gates_x + gates_h)
    return gates, torch.tanh(new_x + gates[..., :size] * new_h), new_h


def plain_step(x: Tensor, h: Tensor, *parameters: Tensor) -> Tensor:
    """The new state (B, N, H) by tensor operations.

    Args:
        x: the input (B, N, D).
        h: the old state (B, N, H).
        parameters: weight_ih, weight_hh, bias_ih and bias_hh.
    """
    weight_ih, weight_hh, bias_ih, bias_hh = parameters
    gates, candidate, _ = gates_and_candidate(linear(x, weight_ih, bias_ih), linear(h, weight_hh, bias_hh))
    return torch.lerp(candidate, h, gates[..., h.shape[-1] :])


class GRUStepFunction(Function):
    """(x, h, weight_ih, weight_hh, bias_ih, bias_hh) -> new state, equal to `plain_step`.

    It saves its inputs, and four numbers for each of the new state: gates, candidate and the product of the candidate.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, h: Tensor, *parameters: Tensor) -> Tensor:
        weight_ih, weight_hh, bias_ih, bias_hh = parameters
        size, flat_x, flat_h = h.shape[-1], x.flatten(0, -2), h.flatten(0, -2).contiguous()
        x_proj = torch.addmm(bias_ih, flat_x, weight_ih.t())
        h_proj = torch.addmm(bias_hh, flat_h, weight_hh.t())
        out, saved = h.new_empty(h.shape), h.new_empty(len(flat_h), 4 * size)
        tensors = x_proj, h_proj, flat_h, out, saved
        run = kernel("gru_gates", h.dtype, *[ctypes.c_int64] * 2, *[ctypes.c_void_p] * 5)
        run(len(flat_h), size, *addresses(tensors))
        ctx.save_for_backward(x, h, *parameters, saved)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        *inputs, saved = ctx.saved_tensors
        if torch.is_grad_enabled() or is_batched(grad):  # tensor operations have second derivatives, and batches
            return differentiable_gradients(lambda *tensors: (plain_step(*tensors),), inputs, (grad,))
        x, h, weight_ih, weight_hh, *_ = inputs
        size, flat_x, flat_h = h.shape[-1], x.flatten(0, -2), h.flatten(0, -2).contiguous()
        to_x, to_h = (saved.new_empty(len(flat_h), 3 * size) for _ in range(2))
        to_old, to_bias_x, to_bias_h = torch.empty_like(flat_h), saved.new_empty(3 * size), saved.new_empty(3 * size)
        tensors = grad.contiguous(), flat_h, saved, to_x, to_h, to_old, to_bias_x, to_bias_h
        run = kernel("gru_gates_backward", h.dtype, *[ctypes.c_int64] * 2, *[ctypes.c_void_p] * 8)
        run(len(flat_h), size, *addresses(tensors))
        needed = ctx.needs_input_grad
        return (
            (to_x @ weight_ih).view(x.shape) if needed[0] else None,
            to_old.addmm_(to_h, weight_hh).view(h.shape) if needed[1] else None,
            to_x.t() @ flat_x if needed[2] else None,
            to_h.t() @ flat_h if needed[3] else None,
            to_bias_x,
            to_bias_h,
        )


def gru_step(x: Tensor, h: Tensor, *parameters: Tensor) -> Tensor | None:
    """The new state (B, N, H), or None where the kernel does not apply.

    Args:
        x: the input (B, N, D).
        h: the old state (B, N, H).
        parameters: weight_ih, weight_hh, bias_ih and bias_hh.
    """
    if not supported(x, h, parameters) or not x.numel():
        return None
    return GRUStepFunction.apply(x, h, *parameters)
