"""The mean of what neighbours say: the simplest bus that learns."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from comms.bus import Bus, Delivery, State, make_delivery
from comms.edge_softmax import edge_attention
from comms.topology import Edges


class Mean(Bus):
    """Each inbox is the mean, weighted by the edges, of linear messages; zeros for who hears nobody.

    A message is `message_size` floats. There is no bias, so that to say zeros is to say nothing.

    CommNet's communication step (Sukhbaatar, Szlam and Fergus 2016, section 3.1).
    """

    def __init__(self, input_size: int, message_size: int) -> None:
        super().__init__()
        self.input_size, self.message_size = input_size, message_size
        self.message = nn.Linear(input_size, message_size, bias=False)

    def forward(
        self, y: Float[Tensor, "B E Y"], edges: Edges, state: State, rng: torch.Generator | None
    ) -> tuple[Delivery, State]:
        """Everyone speaks to all that have an edge from it."""
        inbox, weights = edge_attention(self.message(y).unsqueeze(2), edges)
        return make_delivery(inbox, weights, edges, floats=self.message_size), state
