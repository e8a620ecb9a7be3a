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

    It saves its inputs, and four numbers for each of the new state, in the place of the products: both gates, whose
    products with x and h are added up by the matrix product itself, the candidate, and the candidate's product with h.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, h: Tensor, *parameters: Tensor) -> Tensor:
        weight_ih, weight_hh, bias_ih, bias_hh = parameters
        size, flat_x, flat_h = h.shape[-1], x.flatten(0, -2), h.flatten(0, -2).contiguous()
        out, products = h.new_empty(h.shape), h.new_empty(len(flat_h), 4 * size)
        gates_hh, new_hh = weight_hh.split([2 * size, size])
        torch.mm(flat_x, weight_ih.t(), out=products[:, : 3 * size])
        products[:, : 2 * size].addmm_(flat_h, gates_hh.t())
        torch.mm(flat_h, new_hh.t(), out=products[:, 3 * size :])
        tensors = bias_ih.contiguous(), bias_hh.contiguous(), flat_h, out, products
        run = kernel("gru_gates", h.dtype, *[ctypes.c_int64] * 2, *[ctypes.c_void_p] * 5)
        run(len(flat_h), size, *addresses(tensors))
        ctx.save_for_backward(x, h, *parameters, products)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        *inputs, saved = ctx.saved_tensors
        if torch.is_grad_enabled() or is_batched(grad):  # tensor operations have second derivatives, and batches
            return differentiable_gradients(lambda *tensors: (plain_step(*tensors),), inputs, (grad,))
        x, h, weight_ih, weight_hh, *_ = inputs
        size, flat_x, flat_h = h.shape[-1], x.flatten(0, -2), h.flatten(0, -2).contiguous()
        to_products, to_old = torch.empty_like(saved), torch.empty_like(flat_h)
        to_bias_x, to_bias_h = (saved.new_empty(3 * size) for _ in range(2))
        tensors = grad.contiguous(), flat_h, saved, to_products, to_old, to_bias_x, to_bias_h
        run = kernel("gru_gates_backward", h.dtype, *[ctypes.c_int64] * 2, *[ctypes.c_void_p] * 7)
        run(len(flat_h), size, *addresses(tensors))
        to_x, to_gates, to_new = to_products[:, : 3 * size], to_products[:, : 2 * size], to_products[:, 3 * size :]
        gates_hh, new_hh = weight_hh.split([2 * size, size])
        needed, to_weight_hh = ctx.needs_input_grad, None
        if needed[3]:
            to_weight_hh = weight_hh.new_empty(size, 3 * size)  # transposed, which MKL computes faster
            torch.mm(flat_h.t(), to_gates, out=to_weight_hh[:, : 2 * size])
            torch.mm(flat_h.t(), to_new, out=to_weight_hh[:, 2 * size :])
            to_weight_hh = to_weight_hh.t()
        return (
            (to_x @ weight_ih).view(x.shape) if needed[0] else None,
            to_old.addmm_(to_gates, gates_hh).addmm_(to_new, new_hh).view(h.shape) if needed[1] else None,
            (flat_x.t() @ to_x).t() if needed[2] else None,
            to_weight_hh,
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
