"""Outputs that look for the experts that make them.

Shapes as in `badger.act`.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from badger.act.base import Act


class Readout(Act):
    """Each output is an attention query over the experts: a learned stub beside an address drawn for each episode.

    As in GoodAI's public code for Rosa et al. 2019: the number of outputs and of experts are both free after training.
    The address is (B, D, address_size), standard normal.
    """

    def __init__(self, input_size: int, outputs: int, *, stub_size: int = 16, address_size: int = 16):
        super().__init__()
        self.input_size, self.outputs, self.address_size = input_size, outputs, address_size
        self.stub = nn.Parameter(torch.randn(stub_size))
        self.key_value = nn.Linear(input_size, stub_size + address_size + 1)

    def make_assignment(self, like: Tensor, experts: int, outputs: int, rng: torch.Generator) -> Tensor:
        shape = (like.shape[0], outputs, self.address_size)
        return torch.randn(shape, generator=rng, device=like.device, dtype=like.dtype)

    def forward(
        self, y: Float[Tensor, "B E Y"], address: Tensor | None, present: Bool[Tensor, "B E"] | None
    ) -> Float[Tensor, "B D"]:
        assert address is not None
        query = torch.cat([self.stub.expand(*address.shape[:2], -1), address], -1)  # (B, D, K)
        keys, values = self.key_value(y).split([query.shape[-1], 1], -1)
        scores = query @ keys.mT * query.shape[-1] ** -0.5  # (B, D, E)
        if present is None:
            return (scores.softmax(-1) @ values).squeeze(-1)
        there = present.unsqueeze(1)
        lowest = torch.finfo(scores.dtype).min
        weights = scores.masked_fill(~there, lowest).softmax(-1) * there  # all zero where nobody is there
        return (weights @ values).squeeze(-1)
