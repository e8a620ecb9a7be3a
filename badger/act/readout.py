"""An output head in which each output attends to the experts.

Shapes as in `badger.act`.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from badger.act.base import Act
from comms.sharding import Shard


class Readout(Act):
    """Attention readout: the query of an output is a learned vector and a random code of the output, concatenated.

    The numbers of outputs and of experts can both change after training. The assignment is (B, D, code_size): standard
    normal codes, sampled in each episode.

    Args:
        input_size: Y, outputs of an expert.
        outputs: D.
        query_size: size of the learned part of the query, shared by all outputs.
        code_size: size of the random code of an output.

    Raises:
        ValueError: a size below 1.

    Source: GoodAI's public code for Rosa et al. 2019 (arXiv:1912.01513).
    """

    def __init__(self, input_size: int, outputs: int, *, query_size: int = 16, code_size: int = 16):
        super().__init__()
        for name, size in {"query_size": query_size, "code_size": code_size}.items():
            if size < 1:
                raise ValueError(f"{name}={size}, want at least 1")
        self.input_size, self.outputs, self.code_size = input_size, outputs, code_size
        self.query = nn.Parameter(torch.randn(query_size))
        self.key_value = nn.Linear(input_size, query_size + code_size + 1)

    def make_assignment(self, like: Tensor, experts: int, outputs: int, rng: torch.Generator) -> Tensor:
        shape = (like.shape[0], outputs, self.code_size)
        return torch.randn(shape, generator=rng, device=like.device, dtype=like.dtype)

    def forward(
        self, y: Float[Tensor, "B E Y"], assignment: Tensor | None, present: Bool[Tensor, "B E"] | None
    ) -> Float[Tensor, "B D"]:
        scores, values = self._scores_and_values(y, assignment)
        if present is None:
            return (scores.softmax(-1) @ values).squeeze(-1)
        mask = present.unsqueeze(1)
        lowest = torch.finfo(scores.dtype).min
        weights = scores.masked_fill(~mask, lowest).softmax(-1) * mask  # all zero where no expert is present
        return (weights @ values).squeeze(-1)

    def forward_sharded(
        self, y: Float[Tensor, "B N Y"], assignment: Tensor | None, shard: Shard
    ) -> Float[Tensor, "B D"]:
        scores, values = self._scores_and_values(y, assignment)
        exp_scores = (scores - shard.max(scores.amax(-1, keepdim=True))).exp()
        parts = shard.sum(torch.cat([exp_scores @ values, exp_scores.sum(-1, keepdim=True)], -1))
        return parts[..., 0] / parts[..., 1]

    def _scores_and_values(self, y: Tensor, assignment: Tensor | None) -> tuple[Tensor, Tensor]:
        """(B, D, E) the scores of the experts for each output, and (B, E, 1) the experts' values."""
        assert assignment is not None
        query = torch.cat([self.query.expand(*assignment.shape[:2], -1), assignment], -1)  # (B, D, K)
        keys, values = self.key_value(y).split([query.shape[-1], 1], -1)
        return query @ keys.mT * query.shape[-1] ** -0.5, values
