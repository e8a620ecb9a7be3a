"""Gated recurrent unit in plain tensor operations, so that it folds, vmaps and compiles where nn.GRUCell does not.

Shapes: B episode, N members, H hidden, D input; T step; S steps of R sequences, packed.
"""

from functools import partial
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd import Function

from experts.recurrent.cell import Cell, Tensors
from experts.second_derivatives import differentiable_gradients
from experts.torch_internals import gru_sequence, sigmoid_backward, tanh_backward


class GRUState(NamedTuple):
    h: Float[Tensor, "B N H"]


class GRU(Cell):
    """h' = z h + (1 - z) tanh(W x + r (U h)), with the parameters and names of `nn.GRUCell` (Cho et al. 2014).

    The output is the new hidden state. As in nn.GRUCell the reset gate acts after the product U h.
    """

    gates = 3
    State = GRUState
    sequence = gru_sequence

    @staticmethod
    def cell_forward(from_x: Tensor, from_h: Tensor, state: Tensors) -> tuple[Tensors, Tensors]:
        size = from_x.shape[-1] // 3
        gates_x, new_x = from_x.split_with_sizes([2 * size, size], -1)
        gates_h, new_h = from_h.split_with_sizes([2 * size, size], -1)
        gates = torch.sigmoid(gates_x + gates_h)
        reset, keep = gates.chunk(2, -1)
        candidate = torch.tanh(new_x + reset * new_h)
        return (torch.lerp(candidate, state[0], keep),), (gates, candidate, new_h.clone())  # not the whole product

    @staticmethod
    def cell_backward(grads: Tensors, state: Tensors, kept: Tensors) -> tuple[Tensor, Tensor, Tensors]:
        (grad,), (h,), (gates, candidate, new_h) = grads, state, kept
        reset, keep = gates.chunk(2, -1)
        grad_h = grad * keep
        to_new = tanh_backward(grad - grad_h, candidate)
        to_gates = sigmoid_backward(torch.cat([to_new * new_h, grad * (h - candidate)], -1), gates)
        return torch.cat([to_gates, to_new], -1), torch.cat([to_gates, to_new * reset], -1), (grad_h,)

    def _sequence(self, xs: Tensors, state: Tensors, *batch_first: bool) -> tuple[Tensor, Tensors]:
        """Where torch has one kernel for all steps it is torch's own; else that is slow to go back through."""
        if xs[0].device.type != "cpu" or not torch.is_grad_enabled() or torch.compiler.is_compiling():
            return super()._sequence(xs, state, *batch_first)
        sizes = torch.full((len(xs[0]),), len(state[0])) if batch_first else xs[1]
        packed = xs[0].flatten(0, 1) if batch_first else xs[0]
        weights = self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh
        ys, last = PackedGRUFunction.apply(packed, sizes, *state, *weights)
        return ys.view(*xs[0].shape[:-1], self.output_size), (last,)


class PackedGRUFunction(Function):
    """(xs, sizes, h, weight_ih, weight_hh, bias_ih, bias_hh) -> (ys, last), as `torch.gru` of packed sequences: xs
    (S, D), sizes (T,) on the host, h (R, H) -> ys (S, H), last (R, H).

    On the CPU torch goes back through a step by some fifteen small operations, and adds up the weights' gradients step
    by step. But all that a step's gradient is multiplied by follows from the hidden states, which are known by then:
    here it is computed for all steps at once, so that four operations are left to be done one step after the other.
    """

    @staticmethod
    def forward(ctx: Any, xs: Tensor, sizes: Tensor, h: Tensor, *weights: Tensor) -> tuple[Tensor, Tensor]:
        ys, last = _gru(sizes, xs, h, *weights)
        ctx.sizes = sizes
        ctx.save_for_backward(xs, h, ys, *weights)
        return ys, last

    @staticmethod
    def backward(ctx: Any, grad_ys: Tensor, grad_last: Tensor) -> tuple[Tensor | None, ...]:
        xs, h, ys, weight_ih, weight_hh, bias_ih, bias_hh = ctx.saved_tensors
        if torch.is_grad_enabled():  # create_graph=True: by torch's own operations, which have second derivatives
            plain = partial(_gru, ctx.sizes)
            inputs = xs, h, weight_ih, weight_hh, bias_ih, bias_hh
            to_xs, *others = differentiable_gradients(plain, inputs, (grad_ys, grad_last))
            return to_xs, None, *others
        before, size = _previous_hidden(h, ys, ctx.sizes), h.shape[-1]
        from_x = torch.addmm(bias_ih, xs, weight_ih.t())
        from_h = torch.addmm(bias_hh, before, weight_hh.t())
        _, kept = GRU.cell_forward(from_x, from_h, (before,))
        to_x, to_h, (to_state,) = GRU.cell_backward((torch.ones_like(before),), (before,), kept)  # where a step's is 1
        to_x, to_h = to_x.unflatten(-1, (3, size)), to_h.unflatten(-1, (3, size))
        grads, carry, steps = [], grad_last[:0], ctx.sizes.tolist()
        for grad, by_h, by_state in reversed(
            list(zip(*(x.split(steps) for x in (grad_ys, to_h, to_state)), strict=True))
        ):
            if len(grad) > len(carry):  # sequences of which this is the last step
                carry = torch.cat([carry, grad_last[len(carry) : len(grad)]])
            grad = grad + carry
            grads.append(grad)
            carry = torch.addmm(grad * by_state, (grad.unsqueeze(1) * by_h).flatten(1), weight_hh)
        every = torch.cat(grads[::-1]).unsqueeze(1)
        to_x, to_h = (every * to_x).flatten(1), (every * to_h).flatten(1)
        grad_xs = to_x @ weight_ih if ctx.needs_input_grad[0] else None
        return grad_xs, None, carry, to_x.t() @ xs, to_h.t() @ before, to_x.sum(0), to_h.sum(0)


def _gru(sizes: Tensor, xs: Tensor, h: Tensor, *weights: Tensor) -> tuple[Tensor, Tensor]:
    ys, last = gru_sequence(xs, sizes, h.unsqueeze(0), list(weights), True, 1, 0.0, False, False)
    return ys, last.squeeze(0)


def _previous_hidden(
    h: Float[Tensor, "R H"], ys: Float[Tensor, "S H"], sizes: Int[Tensor, " T"]
) -> Float[Tensor, "S H"]:
    """The hidden state before each step."""
    back = torch.cat([sizes[:1], sizes[:-1]]).repeat_interleave(sizes)  # so far up is the same sequence
    return torch.cat([h, ys])[torch.arange(len(h), len(h) + len(ys)) - back]
