"""Messages that take their time, around any bus."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from comms.bus import Bus, Delivery, State, select_experts
from comms.topology import Edges, max_edge_weights


class Queue(NamedTuple):
    """What was put out in the last rounds, L of them, the oldest first; and the state of the bus within."""

    y: Float[Tensor, "B E L Y"]
    spoke: Bool[Tensor, "B E L"]  # whether a live edge led out of the expert
    listened: Bool[Tensor, "B E L"]  # whether one led to it
    bus: State


class Delayed(Bus):
    """What the bus within delivers now is what it would have delivered `steps` rounds ago; before that, nothing.

    The outputs of the experts wait, whole, so that a receiver also hears by the query that it had then. A message
    arrives if sender and receiver had a live edge (any) when it was sent, and the edge between them is alive now: one
    cut meanwhile loses what is under way, and newcomers are heard, and hear, after `steps` rounds. Random choices of
    the bus within are made, and costs are counted, on arrival.

    Raises ValueError where steps < 1.
    """

    def __init__(self, bus: Bus, steps: int = 1) -> None:
        super().__init__()
        if steps < 1:
            raise ValueError(f"steps={steps}, want at least 1; without a delay, leave Delayed out")
        self.input_size, self.message_size = bus.input_size, bus.message_size
        self.bus, self.steps = bus, steps

    def initial_state(self, y: Float[Tensor, "B E Y"]) -> Queue:
        """Nothing is under way."""
        size = (*y.shape[:2], self.steps)
        never = torch.zeros(size, dtype=torch.bool, device=y.device)
        return Queue(y.new_zeros(*size, y.shape[2]), never, never, self.bus.initial_state(y))

    def forward(
        self, y: Float[Tensor, "B E Y"], edges: Edges, state: State, rng: torch.Generator | None
    ) -> tuple[Delivery, State]:
        """The oldest round leaves the queue, this one enters it."""
        assert isinstance(state, Queue)
        now = (y, *(weight.ne(0) for weight in max_edge_weights(edges, y.shape[1])))
        then, spoke, listened = (part[:, :, 0] for part in state[:3])
        under_way = spoke.gather(1, edges.senders) & listened.gather(1, edges.receivers)
        delivery, bus = self.bus(then, edges._replace(weight=edges.weight * under_way), state.bus, rng)
        waiting = zip(state[:3], now, strict=True)
        y, spoke, listened = (torch.cat([old[:, :, 1:], new.unsqueeze(2)], 2) for old, new in waiting)
        return delivery, Queue(y, spoke, listened, bus)

    def select_members(self, state: State, index: Int[Tensor, " E"], y: Float[Tensor, "B E Y"]) -> State:
        """Newcomers have nothing under way."""
        assert isinstance(state, Queue)
        within = self.bus.select_members(state.bus, index, y)
        waiting = select_experts(index, self.initial_state(y)._replace(bus=()), state._replace(bus=()))
        return waiting._replace(bus=within)
