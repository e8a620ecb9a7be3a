"""A channel that loses messages and adds noise, around any bus."""

from math import inf

import torch
from jaxtyping import Float, Int
from torch import Tensor

from comms.bus import Bus, Delivery, State
from comms.topology import Edges


class Noisy(Bus):
    """In each round every edge is dead with probability `drop`, and every number heard is off by N(0, noise^2).

    Drawn from `rng`, apart for each edge and episode, in evaluation as in training: it is the channel that is bad, not
    a way to train. What is dropped is not counted as a message. Who hears nobody hears no noise either.

    Raises ValueError for a drop outside 0 to 1, or a noise that is negative or not finite.
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
        """The state of the bus within."""
        return self.bus.initial_state(y)

    def forward(
        self, y: Float[Tensor, "B E Y"], edges: Edges, state: State, rng: torch.Generator | None
    ) -> tuple[Delivery, State]:
        """Some edges die for this round, and what comes over the others is blurred."""
        if self.drop:
            drawn = torch.rand(edges.weight.shape, generator=rng, device=y.device, dtype=y.dtype)
            edges = edges._replace(weight=edges.weight * (drawn >= self.drop))
        delivery, state = self.bus(y, edges, state, rng)
        if self.noise:
            inbox = delivery.inbox
            error = torch.randn(inbox.shape, generator=rng, device=y.device, dtype=y.dtype) * self.noise
            heard = inbox.detach().ne(0).any(-1, keepdim=True)  # a bus gives zeros to who hears nobody
            delivery = delivery._replace(inbox=inbox + error * heard)
        return delivery, state

    def select_members(self, state: State, index: Int[Tensor, " E"], y: Float[Tensor, "B E Y"]) -> State:
        """As the bus within."""
        return self.bus.select_members(state, index, y)
