"""Gated recurrent unit (GRU) in plain tensor operations, for `torch.func.vmap` and `torch.compile`.

Shapes: B episode, N members, H hidden, D input; T step; S steps of R sequences, packed.
"""

from functools import partial
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd import Function

from experts.activation_gradients import sigmoid_backward, tanh_backward
from experts.recurrent.cell import Cell, Tensors
from experts.recurrent.gru_sequence import unroll_few_rows
from experts.recurrent.gru_step import gates_and_candidate, gru_step
from experts.second_derivatives import differentiable_gradients
from experts.torch_internals import gru_sequence


class GRUState(NamedTuple):
    """The hidden state, which is the output."""

    h: Float[Tensor, "B N H"]


class GRU(Cell):
    """Gated recurrent unit (GRU) with the parameters and names of `nn.GRUCell`.

    h' = z h + (1 - z) tanh(W x + r (U h)). The output is the new hidden state h'. As in nn.GRUCell the reset gate r is
    applied after the product U h.

    Args:
        input_size: D.
        hidden_size: H, also the output size.

    Source: Cho et al. 2014.
    """

    gates = 3
    State = GRUState
    sequence = gru_sequence
    kernel_step = gru_step
    kernel_sequence = unroll_few_rows

    @staticmethod
    def cell_forward(x_proj: Tensor, h_proj: Tensor, state: Tensors) -> tuple[Tensors, Tensors]:
        gates, candidate, new_h = gates_and_candidate(x_proj, h_proj)
        return (torch.lerp(candidate, state[0], gates[..., new_h.shape[-1] :]),), (
            gates,
            candidate,
            new_h.clone(),
        )  # a copy, so that the whole product is not saved

    @staticmethod
    def cell_backward(grads: Tensors, state: Tensors, saved: Tensors) -> tuple[Tensor, Tensor, Tensors]:
        (grad,), (h,), (gates, candidate, new_h) = grads, state, saved
        reset, keep = gates.chunk(2, -1)
        grad_h = grad * keep
        grad_new = tanh_backward(grad - grad_h, candidate)
        grad_gates = sigmoid_backward(torch.cat([grad_new * new_h, grad * (h - candidate)], -1), gates)
        return torch.cat([grad_gates, grad_new], -1), torch.cat([grad_gates, grad_new * reset], -1), (grad_h,)

    def _sequence(self, xs: Tensors, state: Tensors, *batch_first: bool) -> tuple[Tensor, Tensors]:
        """By torch's function on a GPU or without gradients; else by `PackedGRUFunction`, whose backward is faster."""
        if xs[0].device.type != "cpu" or not torch.is_grad_enabled() or torch.compiler.is_compiling():
            return super()._sequence(xs, state, *batch_first)
        sizes = torch.full((len(xs[0]),), len(state[0])) if batch_first else xs[1]
        packed = xs[0].flatten(0, 1) if batch_first else xs[0]
        weights = self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh
        ys, final = PackedGRUFunction.apply(packed, sizes, *state, *weights)
        return ys.view(*xs[0].shape[:-1], self.output_size), (final,)


class PackedGRUFunction(Function):
    """`torch.gru` for packed sequences, with a faster backward pass on the CPU.

    (xs, sizes, h, weight_ih, weight_hh, bias_ih, bias_hh) -> (ys, last): xs (S, D), sizes (T,) on the host, h (R, H) ->
    ys (S, H), last (R, H).

    On the CPU, torch's backward pass takes some fifteen small operations a step and accumulates the weight gradients
    step by step. All factors of a step's gradient follow from the hidden states, which are available in the backward
    pass. Here they are computed for all steps at once, and only four operations a step remain sequential.
    """

    @staticmethod
    def forward(ctx: Any, xs: Tensor, sizes: Tensor, h: Tensor, *weights: Tensor) -> tuple[Tensor, Tensor]:
        ys, final = _gru(sizes, xs, h, *weights)
        ctx.sizes = sizes
        ctx.save_for_backward(xs, h, ys, *weights)
        return ys, final

    @staticmethod
    def backward(ctx: Any, grad_ys: Tensor, grad_last: Tensor) -> tuple[Tensor | None, ...]:
        xs, h, ys, weight_ih, weight_hh, bias_ih, bias_hh = ctx.saved_tensors
        if torch.is_grad_enabled():  # create_graph=True: by torch's own operations, which have second derivatives
            plain = partial(_gru, ctx.sizes)
            inputs = xs, h, weight_ih, weight_hh, bias_ih, bias_hh
            grad_xs, *others = differentiable_gradients(plain, inputs, (grad_ys, grad_last))
            return grad_xs, None, *others
        previous, size = _previous_hidden(h, ys, ctx.sizes), h.shape[-1]
        x_proj = torch.addmm(bias_ih, xs, weight_ih.t())
        h_proj = torch.addmm(bias_hh, previous, weight_hh.t())
        _, saved = GRU.cell_forward(x_proj, h_proj, (previous,))
        ones = torch.ones_like(previous)  # the gradient of each step's state; scaled by the actual one below
        grad_x, grad_h_proj, (grad_state,) = GRU.cell_backward((ones,), (previous,), saved)
        grad_x, grad_h_proj = grad_x.unflatten(-1, (3, size)), grad_h_proj.unflatten(-1, (3, size))
        grads, carry, steps = [], grad_last[:0], ctx.sizes.tolist()
        for grad, factor_h, factor_state in reversed(
            list(zip(*(x.split(steps) for x in (grad_ys, grad_h_proj, grad_state)), strict=True))
        ):
            if len(grad) > len(carry):  # sequences that end at this step
                carry = torch.cat([carry, grad_last[len(carry) : len(grad)]])
            grad = grad + carry
            grads.append(grad)
            carry = torch.addmm(grad * factor_state, (grad.unsqueeze(1) * factor_h).flatten(1), weight_hh)
        all_grads = torch.cat(grads[::-1]).unsqueeze(1)
        grad_x, grad_h_proj = (all_grads * grad_x).flatten(1), (all_grads * grad_h_proj).flatten(1)
        grad_xs = grad_x @ weight_ih if ctx.needs_input_grad[0] else None
        return grad_xs, None, carry, grad_x.t() @ xs, grad_h_proj.t() @ previous, grad_x.sum(0), grad_h_proj.sum(0)


def _gru(sizes: Tensor, xs: Tensor, h: Tensor, *weights: Tensor) -> tuple[Tensor, Tensor]:
    ys, final = gru_sequence(xs, sizes, h.unsqueeze(0), list(weights), True, 1, 0.0, False, False)
    return ys, final.squeeze(0)


def _previous_hidden(
    h: Float[Tensor, "R H"], ys: Float[Tensor, "S H"], sizes: Int[Tensor, " T"]
) -> Float[Tensor, "S H"]:
    """The hidden state before each step."""
    offset = torch.cat([sizes[:1], sizes[:-1]]).repeat_interleave(sizes)  # rows back to the same sequence's last step
    return torch.cat([h, ys])[torch.arange(len(h), len(h) + len(ys)) - offset]
