"""Long short-term memory in plain tensor operations, for the same reasons as `experts.gru`."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import linear

from experts.core import Core


class LSTMState(NamedTuple):
    h: Float[Tensor, "B N H"]
    c: Float[Tensor, "B N H"]


class LSTM(Core):
    """c' = f c + i g, h' = o tanh(c'), with the parameters and names of `nn.LSTMCell` (Gers et al. 2000).

    The output is the new h.
    """

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__()
        self.input_size, self.output_size = input_size, hidden_size
        self.weight_ih = nn.Parameter(torch.empty(4 * hidden_size, input_size))
        self.weight_hh = nn.Parameter(torch.empty(4 * hidden_size, hidden_size))
        self.bias_ih = nn.Parameter(torch.empty(4 * hidden_size))
        self.bias_hh = nn.Parameter(torch.empty(4 * hidden_size))
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -(hidden_size**-0.5), hidden_size**-0.5)
        for gate in self.weight_hh.detach().chunk(4):  # keeps the norm of what is remembered (Saxe et al. 2014)
            nn.init.orthogonal_(gate)

    def initial_state(self, x: Float[Tensor, "B N D"]) -> LSTMState:
        zeros = x.new_zeros(*x.shape[:2], self.output_size)
        return LSTMState(zeros, zeros)

    def forward(
        self, x: Float[Tensor, "B N D"], state: LSTMState, present: Bool[Tensor, "B N"] | None = None
    ) -> tuple[Float[Tensor, "B N Y"], LSTMState]:
        pre = linear(x, self.weight_ih, self.bias_ih) + linear(state.h, self.weight_hh, self.bias_hh)
        write, keep, new, show = pre.chunk(4, -1)  # the order of nn.LSTMCell: i, f, g, o
        c = torch.sigmoid(keep) * state.c + torch.sigmoid(write) * torch.tanh(new)
        h = torch.sigmoid(show) * torch.tanh(c)
        if present is not None:
            there = present.unsqueeze(-1)
            h, c = torch.where(there, h, state.h), torch.where(there, c, state.c)
        return h, LSTMState(h, c)
