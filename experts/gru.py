"""Gated recurrent unit in plain tensor operations, so that it folds, vmaps and compiles where nn.GRUCell does not."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import linear

from experts.core import Core


class GRUState(NamedTuple):
    h: Float[Tensor, "B N H"]


class GRU(Core):
    """h' = z h + (1 - z) tanh(W x + r (U h)), with the parameters and names of `nn.GRUCell` (Cho et al. 2014).

    The output is the new hidden state. As in nn.GRUCell the reset gate acts after the product U h.
    """

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__()
        self.input_size, self.output_size = input_size, hidden_size
        self.weight_ih = nn.Parameter(torch.empty(3 * hidden_size, input_size))
        self.weight_hh = nn.Parameter(torch.empty(3 * hidden_size, hidden_size))
        self.bias_ih = nn.Parameter(torch.empty(3 * hidden_size))
        self.bias_hh = nn.Parameter(torch.empty(3 * hidden_size))
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -(hidden_size**-0.5), hidden_size**-0.5)
        for gate in self.weight_hh.detach().chunk(3):  # keeps the norm of what is remembered (Saxe et al. 2014)
            nn.init.orthogonal_(gate)

    def initial_state(self, x: Float[Tensor, "B N D"]) -> GRUState:
        return GRUState(x.new_zeros(*x.shape[:2], self.output_size))

    def forward(
        self, x: Float[Tensor, "B N D"], state: GRUState, present: Bool[Tensor, "B N"] | None = None
    ) -> tuple[Float[Tensor, "B N Y"], GRUState]:
        h, size = state.h, self.output_size
        from_x, from_h = linear(x, self.weight_ih, self.bias_ih), linear(h, self.weight_hh, self.bias_hh)
        gates = torch.sigmoid(from_x[..., : 2 * size] + from_h[..., : 2 * size])
        reset, keep = gates.chunk(2, -1)
        candidate = torch.tanh(torch.addcmul(from_x[..., 2 * size :], reset, from_h[..., 2 * size :]))
        new = torch.lerp(candidate, h, keep)
        if present is not None:
            new = torch.where(present.unsqueeze(-1), new, h)
        return new, GRUState(new)
