"""Targeted communication by attention: the receiver's query weighs the senders' keys (TarMAC)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from comms.attention_step import Heads, attention_step
from comms.bus import Bus, Delivery, State, make_delivery
from comms.edge_softmax import edge_attention
from comms.sharding import Shard
from comms.topology import Edges


class Attention(Bus):
    """Targeted communication (TarMAC): multi-head attention over incoming messages.

    A message is a key and a value. In each head, receiver j weighs sender i by

        weight_ij exp(q_j . k_i / sqrt(key_size)), normalized over i.

    An inbox is the concatenation of the heads' values, zeros for a receiver without active edges; the weights of the
    delivery are the mean over heads. A message is heads * key_size + message_size floats.

    Args:
        input_size: Y, outputs of an expert.
        message_size: M, size of the inbox, over all heads.
        heads: number of attention heads; a divisor of message_size.
        key_size: size of queries and keys in each head.

    Raises:
        ValueError: `heads` does not divide `message_size`.

    Source: Das et al. 2019 (TarMAC), section 3, with scaled dot products in several heads (Vaswani et al. 2017, 3.2).
    """

    def __init__(self, input_size: int, message_size: int, *, heads: int = 1, key_size: int = 16) -> None:
        super().__init__()
        if not 1 <= heads <= message_size or message_size % heads:
            raise ValueError(f"heads={heads}, want a divisor of message_size={message_size}: change one of them")
        if key_size < 1:
            raise ValueError(f"key_size={key_size}, want at least 1")
        self.input_size, self.message_size = input_size, message_size
        self.heads, self.key_size = heads, key_size
        self.sizes = Heads(heads, key_size, message_size // heads)
        self.query_key_value = nn.Linear(input_size, sum(self.sizes.columns))  # one product instead of three

    def forward(
        self,
        y: Float[Tensor, "B E Y"],
        edges: Edges,
        state: State,
        rng: torch.Generator | None,
        shard: Shard | None = None,
    ) -> tuple[Delivery, State]:
        """One round: each expert sends along its outgoing edges and attends over its incoming ones."""
        projection = self.query_key_value
        received = attention_step(y, edges, self.sizes, projection.weight, projection.bias)
        if received is None:
            parts = projection(y).split(self.sizes.columns, dim=-1)
            query, key, value = (part.unflatten(-1, (self.heads, -1)) for part in parts)  # (B, E, H, .)
            received = edge_attention(value, edges, query * self.key_size**-0.5, key)
        inbox, weights = received
        return make_delivery(inbox, weights, edges, floats=self.heads * self.key_size + self.message_size), state
