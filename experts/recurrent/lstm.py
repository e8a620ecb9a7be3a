"""Long short-term memory in plain tensor operations, for the same reasons as `experts.recurrent.gru`."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from experts.recurrent.cell import Cell, Tensors
from experts.torch_internals import lstm_sequence, sigmoid_backward, tanh_backward


class LSTMState(NamedTuple):
    h: Float[Tensor, "B N H"]
    c: Float[Tensor, "B N H"]


class LSTM(Cell):
    """c' = f c + i tanh(g), h' = o tanh(c'), with the parameters and names of `nn.LSTMCell` (Hochreiter and
    Schmidhuber 1997; forget gate: Gers et al. 2000). The output is the new hidden state h.
    """

    gates = 4
    State = LSTMState
    sequence = lstm_sequence

    @staticmethod
    def cell_forward(from_x: Tensor, from_h: Tensor, state: Tensors) -> tuple[Tensors, Tensors]:
        size = from_x.shape[-1] // 4
        in_forget, new, out = (from_x + from_h).split([2 * size, size, size], -1)
        in_forget, new, out = torch.sigmoid(in_forget), torch.tanh(new), torch.sigmoid(out)
        into, forget = in_forget.chunk(2, -1)
        c = torch.addcmul(forget * state[1], into, new)
        level = torch.tanh(c)
        return (out * level, c), (in_forget, new, out, level)

    @staticmethod
    def cell_backward(grads: Tensors, state: Tensors, kept: Tensors) -> tuple[Tensor, Tensor, Tensors]:
        (grad_h, grad_c), (_, c), (in_forget, new, out, level) = grads, state, kept
        into, forget = in_forget.chunk(2, -1)
        grad_c = grad_c + tanh_backward(grad_h * out, level)
        to_in_forget = sigmoid_backward(torch.cat([grad_c * new, grad_c * c], -1), in_forget)
        to_new, to_out = tanh_backward(grad_c * into, new), sigmoid_backward(grad_h * level, out)
        gates = torch.cat([to_in_forget, to_new, to_out], -1)
        return gates, gates, (torch.zeros_like(grad_h), grad_c * forget)
