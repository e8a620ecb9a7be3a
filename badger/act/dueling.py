"""A dueling output head for Q-learning.

Shapes as in `badger.act`.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from badger.act.base import Act, Mean, mean_expert
from comms.sharding import Shard


class Dueling(Act):
    """Dueling head: Q(a) = V + A(a) - mean A, with V and A linear in the mean over experts.

    Any number of experts; the number of outputs is fixed. An output without any expert is 0.

    Args:
        input_size: Y, outputs of an expert.
        outputs: D.

    Source: Wang et al. 2016, arXiv:1511.06581, equation 9.
    """

    def __init__(self, input_size: int, outputs: int):
        super().__init__()
        self.input_size, self.outputs = input_size, outputs
        self.value, self.advantage = Mean(input_size, 1), Mean(input_size, outputs)

    def make_assignment(self, like: Tensor, experts: int, outputs: int, rng: torch.Generator) -> None:
        if outputs != self.outputs:
            raise ValueError(
                f"outputs={outputs}, want {self.outputs}: act.Dueling has a fixed number of outputs; "
                "act.RandomOwners and act.Readout support other numbers after training"
            )

    def forward(
        self, y: Float[Tensor, "B E Y"], assignment: Tensor | None, present: Bool[Tensor, "B E"] | None
    ) -> Float[Tensor, "B D"]:
        advantage = self.advantage(y, None, present)
        return self.value(y, None, present) + advantage - advantage.mean(-1, keepdim=True)

    def forward_sharded(
        self, y: Float[Tensor, "B N Y"], assignment: Tensor | None, shard: Shard
    ) -> Float[Tensor, "B D"]:
        return self(mean_expert(y, shard), None, None)
