"""A learned gate on each expert's outgoing messages, as a wrapper around any bus (IC3Net)."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from comms.bus import Bus, Delivery, State, deliver_inside
from comms.sharding import Shard, draw
from comms.topology import Edges


class Gated(Bus):
    """Each expert gates its outgoing messages by its own output; a closed gate deactivates its outgoing edges.

    In training the gate is open with probability p = sigmoid(linear(y)), sampled from `rng`; in evaluation it is open
    where p > 1/2. The gradient is that of p (straight-through estimator: Bengio, Léonard and Courville 2013). The bias
    starts at 1, an open probability of some 73 %: with mostly closed gates receivers learn nothing about messages, and
    with gates that are always open the effect of silence is never observed.

    Args:
        bus: the wrapped bus.

    Source: IC3Net (Singh, Jain and Sukhbaatar 2019, section 3.2), where REINFORCE trains the gate.
    """

    def __init__(self, bus: Bus) -> None:
        super().__init__()
        self.input_size, self.message_size = bus.input_size, bus.message_size
        self.bus = bus
        self.gate = nn.Linear(bus.input_size, 1)
        nn.init.ones_(self.gate.bias)

    def initial_state(self, y: Float[Tensor, "B E Y"]) -> State:
        """The initial state of the wrapped bus."""
        return self.bus.initial_state(y)

    def forward(
        self,
        y: Float[Tensor, "B E Y"],
        edges: Edges,
        state: State,
        rng: torch.Generator | None,
        shard: Shard | None = None,
    ) -> tuple[Delivery, State]:
        """One round: only messages of experts with an open gate are delivered and counted."""
        p = self.gate(y).squeeze(-1).sigmoid()  # (B, E)
        threshold = draw(torch.rand, p, rng, None if shard is None else shard.experts) if self.training else 0.5
        # p - p.detach() is exactly 0, so that the gate stays 0 or 1
        gate = (p > threshold).to(p.dtype) + (p - p.detach())
        gated = edges._replace(weight=edges.weight * gate.gather(1, edges.senders))
        return deliver_inside(self.bus, y, gated, state, rng, shard)

    def select_members(self, state: State, index: Int[Tensor, " E"], y: Float[Tensor, "B E Y"]) -> State:
        """Selects experts of the wrapped bus's state."""
        return self.bus.select_members(state, index, y)
