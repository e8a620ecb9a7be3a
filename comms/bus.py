"""The bus carries what experts say along the edges to those who hear them.

Axes: B episode, E expert, K edge, Y output of an expert, M inbox.
"""

from abc import ABC, abstractmethod
from typing import Any, NamedTuple, TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from comms.topology import Edges

State: TypeAlias = Tensor | tuple  # nested tuples of tensors, episode first; () where nothing is remembered


class Delivery(NamedTuple):
    """What was heard, from whom, at what cost."""

    inbox: Float[Tensor, "B E M"]
    weights: Float[Tensor, "B K"]  # each edge's share in what its receiver hears; they add up to 1 or 0
    num_messages: Float[Tensor, "B"]  # the live edges that were crossed in this delivery
    num_floats: Float[Tensor, "B"]  # the numbers that crossed them


class Bus(nn.Module, ABC):
    """One round of communication. A bus owns its projections and keeps no state of its own between calls."""

    input_size: int  # Y
    message_size: int  # M

    def initial_state(self, y: Float[Tensor, "B E Y"]) -> State:
        """The state at the start of an episode; `y` gives sizes, device and dtype."""
        return ()

    @abstractmethod
    def forward(
        self, y: Float[Tensor, "B E Y"], edges: Edges, state: State, rng: torch.Generator | None
    ) -> tuple[Delivery, State]:
        """Deliver the experts' outputs; random choices draw from `rng`."""

    def select_members(self, state: State, index: Int[Tensor, " E"], y: Float[Tensor, "B E Y"]) -> State:
        """The state of experts `index`, -1 for a fresh one: new ones join. By default axis 1 is that of the experts."""
        return select_experts(index, self.initial_state(y), state)


class Silent(Bus):
    """Nobody hears anybody: no inbox, or `message_size` columns of zeros, to mute an agent of that size."""

    def __init__(self, input_size: int, message_size: int = 0) -> None:
        super().__init__()
        self.input_size, self.message_size = input_size, message_size

    def forward(
        self, y: Float[Tensor, "B E Y"], edges: Edges, state: State, rng: torch.Generator | None
    ) -> tuple[Delivery, State]:
        """An empty inbox, at no cost."""
        inbox, cost = y.new_zeros(*y.shape[:2], self.message_size), y.new_zeros(y.shape[0])
        return Delivery(inbox, torch.zeros_like(edges.weight), cost, cost), state


def make_delivery(
    inbox: Float[Tensor, "B E M"],
    weights: Float[Tensor, "B K"],
    edges: Edges,
    *,
    floats: int,
) -> Delivery:
    """The delivery with its cost, where each live edge carries one message of `floats` numbers."""
    if edges.unmodified:  # their number is known without a look
        batch, live = weights.shape
        return Delivery(inbox, weights, inbox.new_full((batch,), live), inbox.new_full((batch,), live * floats))
    messages = edges.weight.ne(0).sum(-1, dtype=inbox.dtype)
    return Delivery(inbox, weights, messages, messages * floats)


def select_experts(index: Int[Tensor, " E"], fresh: State, old: State) -> Any:
    """`old` of experts `index`, `fresh` where that is -1; axis 1 of every leaf is that of the experts."""
    if isinstance(old, tuple):
        parts = [select_experts(index, new, part) for new, part in zip(fresh, old, strict=True)]
        return type(old)(*parts) if hasattr(old, "_fields") else tuple(parts)
    assert isinstance(fresh, Tensor)
    joins = (index < 0).view(-1, *[1] * (old.dim() - 2))  # (E, 1, ...)
    return torch.where(joins, fresh, old[:, index.clamp(min=0)])
