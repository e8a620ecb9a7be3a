"""Long short-term memory (LSTM) in plain tensor operations, for `torch.func.vmap` and `torch.compile`."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from experts.activation_gradients import sigmoid_backward, tanh_backward
from experts.recurrent.cell import Cell, Tensors
from experts.torch_internals import lstm_sequence


class LSTMState(NamedTuple):
    """The hidden state, which is the output, and the cell state."""

    h: Float[Tensor, "B N H"]
    c: Float[Tensor, "B N H"]


class LSTM(Cell):
    """Long short-term memory (LSTM) with the parameters and names of `nn.LSTMCell`.

    c' = f c + i tanh(g), h' = o tanh(c'). The output is the new hidden state h'.

    Args:
        input_size: D.
        hidden_size: H, also the output size.

    Source: Hochreiter and Schmidhuber 1997; forget gate: Gers et al. 2000.
    """

    gates = 4
    State = LSTMState
    sequence = lstm_sequence

    @staticmethod
    def cell_forward(x_proj: Tensor, h_proj: Tensor, state: Tensors) -> tuple[Tensors, Tensors]:
        size = x_proj.shape[-1] // 4
        in_forget, new, out = (x_proj + h_proj).split([2 * size, size, size], -1)
        in_forget, new, out = torch.sigmoid(in_forget), torch.tanh(new), torch.sigmoid(out)
        in_gate, forget = in_forget.chunk(2, -1)
        c = torch.addcmul(forget * state[1], in_gate, new)
        tanh_c = torch.tanh(c)
        return (out * tanh_c, c), (in_forget, new, out, tanh_c)

    @staticmethod
    def cell_backward(grads: Tensors, state: Tensors, saved: Tensors) -> tuple[Tensor, Tensor, Tensors]:
        (grad_h, grad_c), (_, c), (in_forget, new, out, tanh_c) = grads, state, saved
        in_gate, forget = in_forget.chunk(2, -1)
        grad_c = grad_c + tanh_backward(grad_h * out, tanh_c)
        grad_in_forget = sigmoid_backward(torch.cat([grad_c * new, grad_c * c], -1), in_forget)
        grad_new, grad_out = tanh_backward(grad_c * in_gate, new), sigmoid_backward(grad_h * tanh_c, out)
        grad_gates = torch.cat([grad_in_forget, grad_new, grad_out], -1)
        return grad_gates, grad_gates, (torch.zeros_like(grad_h), grad_c * forget)
