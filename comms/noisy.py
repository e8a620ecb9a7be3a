"""Message loss and Gaussian noise, as a wrapper around any bus."""

from math import inf

import torch
from jaxtyping import Float, Int
from torch import Tensor

from comms.bus import Bus, Delivery, State, deliver_inside
from comms.sharding import Shard, draw
from comms.topology import Edges


class Noisy(Bus):
    """Drops each edge with probability `drop` in each round, and adds Gaussian noise to the inboxes.

    Sampled from `rng`, independently for each edge and episode, in evaluation as in training: it models an unreliable
    channel and is no regularizer. Dropped messages are not counted. A receiver without messages gets no noise.

    Args:
        bus: the wrapped bus.
        drop: probability from 0 to 1.
        noise: standard deviation of the noise.

    Raises:
        ValueError: a drop outside 0 to 1; a noise that is negative or not finite.
    """

    def __init__(self, bus: Bus, *, drop: float = 0.1, noise: float = 0.0) -> None:
        super().__init__()
        if not 0 <= drop <= 1:
            raise ValueError(f"drop={drop}, want a probability from 0 to 1")
        if not 0 <= noise < inf:
            raise ValueError(f"noise={noise}, want a finite standard deviation >= 0")
        self.input_size, self.message_size = bus.input_size, bus.message_size
        self.bus, self.drop, self.noise = bus, drop, noise

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
        """One round: drops edges, then adds noise to the inboxes of the wrapped bus."""
        if self.drop:
            uniform = draw(torch.rand, edges.weight, rng, None if shard is None else shard.edges)
            edges = edges._replace(weight=edges.weight * (uniform >= self.drop))
        delivery, state = deliver_inside(self.bus, y, edges, state, rng, shard)
        if self.noise:
            inbox = delivery.inbox
            noise = draw(torch.randn, inbox, rng, None if shard is None else shard.experts) * self.noise
            received = inbox.detach().ne(0).any(-1, keepdim=True)  # without active edges an inbox is zeros
            delivery = delivery._replace(inbox=inbox + noise * received)
        return delivery, state

    def select_members(self, state: State, index: Int[Tensor, " E"], y: Float[Tensor, "B E Y"]) -> State:
        """Selects experts of the wrapped bus's state."""
        return self.bus.select_members(state, index, y)
