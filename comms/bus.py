"""The base class of communication channels between experts, and a channel without messages.

Axes: B episode, E expert, K edge, Y output of an expert, M inbox.
"""

from abc import ABC, abstractmethod
from typing import Any, NamedTuple, TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from comms.sharding import Shard
from comms.topology import Edges, is_unmodified

State: TypeAlias = Tensor | tuple
"""The state of a bus: nested tuples of tensors, batch axis first; () for a bus without one."""


class Delivery(NamedTuple):
    """The messages that experts receive in one round of communication, with their weights and their cost.

    Args:
        inbox: the input from other experts.
        weights: the weight of each edge in the inbox of its receiver; they sum to 1, or 0 where nothing is received.
        num_messages: the number of messages sent, one for each edge of nonzero weight.
        num_floats: the number of floats sent.
    """

    inbox: Float[Tensor, "B E M"]
    weights: Float[Tensor, "B K"]
    num_messages: Float[Tensor, "B"]
    num_floats: Float[Tensor, "B"]


class Bus(nn.Module, ABC):
    """Base class of communication channels between experts: one call is one round of messages along a graph.

    A bus owns its projections of the experts' outputs, and keeps no state on `self` between calls. A subclass sets
    `input_size` (Y) and `message_size` (M), and implements `forward`.
    """

    input_size: int  # Y
    message_size: int  # M

    def initial_state(self, y: Float[Tensor, "B E Y"]) -> State:
        """The state at the start of an episode.

        Args:
            y: gives batch, experts, device and dtype; its values are not read.
        """
        return ()

    @abstractmethod
    def forward(
        self,
        y: Float[Tensor, "B E Y"],
        edges: Edges,
        state: State,
        rng: torch.Generator | None,
        shard: Shard | None = None,
    ) -> tuple[Delivery, State]:
        """One round of communication.

        Args:
            y: the outputs of all experts.
            edges: the communication graph of each episode.
            state: the state after the previous round.
            rng: the generator of random choices; None: the default generator.
            shard: where the experts are spread over several processes (`comms.sharding`), the part of this one: y has
                its own experts, then those that are heard from others, and only the inboxes of its own are used.
                Messages and floats are those sent to its own experts. A bus without this parameter works in one
                process only. None: all experts are in this process.

        Returns:
            The delivery, and the state after this round.
        """

    def select_members(self, state: State, index: Int[Tensor, " E"], y: Float[Tensor, "B E Y"]) -> State:
        """Selects experts of a state, and adds new ones. By default axis 1 is that of the experts.

        Args:
            state: the state of all experts.
            index: the experts of the returned state, in that order; -1 for a new one with the initial state.
            y: gives batch, device and dtype for new experts, as in `initial_state`.
        """
        return select_experts(index, self.initial_state(y), state)


class Silent(Bus):
    """No communication: an inbox of size 0, or of zeros, for an agent with a given message size.

    Args:
        input_size: Y, the outputs of an expert.
        message_size: M, columns of zeros in the inbox.
    """

    def __init__(self, input_size: int, message_size: int = 0) -> None:
        super().__init__()
        self.input_size, self.message_size = input_size, message_size

    def forward(
        self,
        y: Float[Tensor, "B E Y"],
        edges: Edges,
        state: State,
        rng: torch.Generator | None,
        shard: Shard | None = None,
    ) -> tuple[Delivery, State]:
        """An inbox of zeros, without cost."""
        inbox, cost = y.new_zeros(*y.shape[:2], self.message_size), y.new_zeros(y.shape[0])
        return Delivery(inbox, torch.zeros_like(edges.weight), cost, cost), state


def deliver_inside(
    bus: Bus, y: Float[Tensor, "B E Y"], edges: Edges, state: State, rng: torch.Generator | None, shard: Shard | None
) -> tuple[Delivery, State]:
    """One round of a wrapped bus, which may have no parameter `shard` where all experts are in one process.

    Args:
        bus: the wrapped bus.
        y: as in `Bus.forward`.
        edges: as in `Bus.forward`.
        state: as in `Bus.forward`.
        rng: as in `Bus.forward`.
        shard: as in `Bus.forward`.
    """
    return bus(y, edges, state, rng) if shard is None else bus(y, edges, state, rng, shard)


def make_delivery(
    inbox: Float[Tensor, "B E M"],
    weights: Float[Tensor, "B K"],
    edges: Edges,
    *,
    floats: int,
) -> Delivery:
    """A delivery whose cost is one message of `floats` numbers for each active edge.

    Args:
        inbox: as in `Delivery`.
        weights: as in `Delivery`.
        edges: the communication graph.
        floats: size of a message.
    """
    if is_unmodified(edges):  # all edges are active: counting them would synchronize with the device
        batch, count = weights.shape
        return Delivery(inbox, weights, inbox.new_full((batch,), count), inbox.new_full((batch,), count * floats))
    messages = edges.weight.ne(0).sum(-1, dtype=inbox.dtype)
    return Delivery(inbox, weights, messages, messages * floats)


def select_experts(index: Int[Tensor, " E"], initial: State, old: State) -> Any:
    """The state of selected experts: `old` at `index`, `initial` where the index is -1.

    Args:
        index: experts in `old`, or -1.
        initial: the initial state of all experts of the result.
        old: a state; axis 1 of every leaf is that of the experts.
    """
    if isinstance(old, tuple):
        parts = [select_experts(index, new, part) for new, part in zip(initial, old, strict=True)]
        return type(old)(*parts) if hasattr(old, "_fields") else tuple(parts)
    assert isinstance(initial, Tensor)
    is_new = (index < 0).view(-1, *[1] * (old.dim() - 2))  # (E, 1, ...)
    return torch.where(is_new, initial, old[:, index.clamp(min=0)])
