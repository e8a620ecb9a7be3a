"""Experts that choose when to speak, around any bus."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from comms.bus import Bus, Delivery, State
from comms.topology import Edges


class Gated(Bus):
    """Each expert opens or shuts its mouth by a gate on its own output; shut, its outgoing edges are dead.

    Open with probability p = sigmoid(linear(y)) while training, drawn from `rng`, and where p > 1/2 in eval
    mode. The gradient passes the choice as if it were p (straight through: Bengio, Léonard and Courville
    2013). The bias starts at 1, some 73 % open: from a bus that is mostly shut nobody learns what is worth
    saying or hearing, while one that is always open would never try what silence is worth.

    IC3Net (Singh, Jain and Sukhbaatar 2019, section 3.2), whose gate learns by REINFORCE instead.
    """

    def __init__(self, bus: Bus) -> None:
        super().__init__()
        self.input_size, self.message_size = bus.input_size, bus.message_size
        self.bus = bus
        self.gate = nn.Linear(bus.input_size, 1)
        nn.init.ones_(self.gate.bias)

    def initial_state(self, y: Float[Tensor, "B E Y"]) -> State:
        """The state of the bus within."""
        return self.bus.initial_state(y)

    def forward(
        self, y: Float[Tensor, "B E Y"], edges: Edges, state: State, rng: torch.Generator | None
    ) -> tuple[Delivery, State]:
        """Only those who chose to speak are delivered and counted."""
        p = self.gate(y).squeeze(-1).sigmoid()  # (B, E)
        bar = torch.rand(p.shape, generator=rng, device=p.device, dtype=p.dtype) if self.training else 0.5
        # the difference is exactly 0, so that the choice stays 0 or 1
        choice = (p > bar).to(p.dtype) + (p - p.detach())
        return self.bus(y, edges._replace(weight=edges.weight * choice.gather(1, edges.senders)), state, rng)

    def select_members(self, state: State, index: Int[Tensor, " E"], y: Float[Tensor, "B E Y"]) -> State:
        """As the bus within."""
        return self.bus.select_members(state, index, y)
