"""Delayed messages, as a wrapper around any bus."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from comms.bus import Bus, Delivery, State, deliver_inside, select_experts
from comms.sharding import Shard
from comms.topology import Edges, max_edge_weights


class Queue(NamedTuple):
    """Experts' outputs of the last L rounds, oldest first, and the state of the wrapped bus.

    Args:
        y: the outputs.
        can_send: whether the expert had an active outgoing edge.
        can_receive: whether the expert had an active incoming edge.
        bus: the state of the wrapped bus.
    """

    y: Float[Tensor, "B E L Y"]
    can_send: Bool[Tensor, "B E L"]
    can_receive: Bool[Tensor, "B E L"]
    bus: State


class Delayed(Bus):
    """Latency of `steps` rounds: delivers what the wrapped bus would have delivered then; zeros before that.

    The queue holds the experts' whole outputs, so that a receiver attends by the query of that time. A message
    arrives if sender and receiver each had some active edge when it was sent, and the edge between them is active on
    arrival: an edge that is cut meanwhile loses its messages, and new experts send and receive after `steps` rounds.
    The wrapped bus samples and counts messages on arrival.

    Args:
        bus: the wrapped bus.
        steps: rounds from sending to arrival, at least 1.

    Raises:
        ValueError: steps < 1.
    """

    def __init__(self, bus: Bus, steps: int = 1) -> None:
        super().__init__()
        if steps < 1:
            raise ValueError(f"steps={steps}, want at least 1; without a delay, leave Delayed out")
        self.input_size, self.message_size = bus.input_size, bus.message_size
        self.bus, self.steps = bus, steps

    def initial_state(self, y: Float[Tensor, "B E Y"]) -> Queue:
        """A queue without messages."""
        size = (*y.shape[:2], self.steps)
        none = torch.zeros(size, dtype=torch.bool, device=y.device)
        return Queue(y.new_zeros(*size, y.shape[2]), none, none, self.bus.initial_state(y))

    def forward(
        self,
        y: Float[Tensor, "B E Y"],
        edges: Edges,
        state: State,
        rng: torch.Generator | None,
        shard: Shard | None = None,
    ) -> tuple[Delivery, State]:
        """One round: delivers the oldest entry of the queue and appends the current outputs."""
        assert isinstance(state, Queue)
        newest = (y, *(weight.ne(0) for weight in max_edge_weights(edges, y.shape[1])))
        oldest_y, can_send, can_receive = (part[:, :, 0] for part in state[:3])
        arrives = can_send.gather(1, edges.senders) & can_receive.gather(1, edges.receivers)
        arriving = edges._replace(weight=edges.weight * arrives)
        delivery, bus = deliver_inside(self.bus, oldest_y, arriving, state.bus, rng, shard)
        pairs = zip(state[:3], newest, strict=True)
        y, can_send, can_receive = (torch.cat([queue[:, :, 1:], new.unsqueeze(2)], 2) for queue, new in pairs)
        return delivery, Queue(y, can_send, can_receive, bus)

    def select_members(self, state: State, index: Int[Tensor, " E"], y: Float[Tensor, "B E Y"]) -> State:
        """Selects experts of a state; the queue of a new one is empty."""
        assert isinstance(state, Queue)
        bus = self.bus.select_members(state.bus, index, y)
        queue = select_experts(index, self.initial_state(y)._replace(bus=()), state._replace(bus=()))
        return queue._replace(bus=bus)
