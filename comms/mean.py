"""Mean of linear messages: the simplest learned bus (CommNet)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from comms.bus import Bus, Delivery, State, make_delivery
from comms.edge_softmax import edge_attention
from comms.sharding import Shard
from comms.topology import Edges


class Mean(Bus):
    """Mean of the neighbors' linear messages, weighted by the edges; zeros for a receiver without active edges.

    A message is `message_size` floats. The linear map has no bias: a zero output sends a zero message.

    Args:
        input_size: Y, outputs of an expert.
        message_size: M, size of the inbox.

    Source: CommNet (Sukhbaatar, Szlam and Fergus 2016, section 3.1).
    """

    def __init__(self, input_size: int, message_size: int) -> None:
        super().__init__()
        self.input_size, self.message_size = input_size, message_size
        self.message = nn.Linear(input_size, message_size, bias=False)

    def forward(
        self,
        y: Float[Tensor, "B E Y"],
        edges: Edges,
        state: State,
        rng: torch.Generator | None,
        shard: Shard | None = None,
    ) -> tuple[Delivery, State]:
        """One round: each expert sends along its outgoing edges."""
        inbox, weights = edge_attention(self.message(y).unsqueeze(2), edges)
        return make_delivery(inbox, weights, edges, floats=self.message_size), state
