"""Gated recurrent unit in plain tensor operations, so that it folds, vmaps and compiles where nn.GRUCell does not."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from experts.cell import Cell, Parts, sigmoid_backward, tanh_backward


class GRUState(NamedTuple):
    h: Float[Tensor, "B N H"]


class GRU(Cell):
    """h' = z h + (1 - z) tanh(W x + r (U h)), with the parameters and names of `nn.GRUCell` (Cho et al. 2014).

    The output is the new hidden state. As in nn.GRUCell the reset gate acts after the product U h.
    """

    gates = 3
    State = GRUState
    sequence = torch.gru

    @staticmethod
    def advance(from_x: Tensor, from_h: Tensor, state: Parts) -> tuple[Parts, Parts]:
        size = from_x.shape[-1] // 3
        gates_x, new_x = from_x.split([2 * size, size], -1)
        gates_h, new_h = from_h.split([2 * size, size], -1)
        gates = torch.sigmoid(gates_x + gates_h)
        reset, keep = gates.chunk(2, -1)
        candidate = torch.tanh(new_x + reset * new_h)
        return (torch.lerp(candidate, state[0], keep),), (gates, candidate, new_h.clone())  # not the whole product

    @staticmethod
    def retreat(grads: Parts, state: Parts, kept: Parts) -> tuple[Tensor, Tensor, Parts]:
        (grad,), (h,), (gates, candidate, new_h) = grads, state, kept
        reset, keep = gates.chunk(2, -1)
        grad_h = grad * keep
        to_new = tanh_backward(grad - grad_h, candidate)
        to_gates = sigmoid_backward(torch.cat([to_new * new_h, grad * (h - candidate)], -1), gates)
        return torch.cat([to_gates, to_new], -1), torch.cat([to_gates, to_new * reset], -1), (grad_h,)
