"""Ports through which experts act: from what the experts put out to one action of the agent.

Sensing and acting are two modules, for both have an `Each`: `sense.Each(...)`, `act.Each(...)`.

Shapes: B episode, E expert, Y output of an expert, D numbers of an action (the dimensions of a guess, the logits of a
choice). An *address* is what a port draws anew for each episode; it is part of the agent's state, and its shape tells
the number of outputs. Experts that are not present have no say; an output that nobody is left to make is 0.
"""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn


class Act(nn.Module, ABC):
    """(B, E, Y) -> (B, D)."""

    input_size: int
    outputs: int  # D where nothing else is asked for

    @abstractmethod
    def address(self, like: Tensor, experts: int, outputs: int, rng: torch.Generator) -> Tensor | None:
        """What an episode's outputs are bound to; like (B, ...) gives batch, dtype and device.

        Raises ValueError where so many experts and outputs do not fit.
        """

    @abstractmethod
    def forward(
        self, y: Float[Tensor, "B E Y"], address: Tensor | None, present: Bool[Tensor, "B E"] | None
    ) -> Float[Tensor, "B D"]: ...

    def join(self, address: Tensor | None, like: Tensor, experts: int, rng: torch.Generator) -> Tensor | None:
        """The address after newcomers have made it `experts` experts. Those who were there keep what they had."""
        return address


class Mean(Act):
    """The mean over experts of a linear map. Any number of experts; the number of outputs is fixed."""

    def __init__(self, input_size: int, outputs: int):
        super().__init__()
        self.input_size, self.outputs = input_size, outputs
        self.linear = nn.Linear(input_size, outputs)

    def address(self, like: Tensor, experts: int, outputs: int, rng: torch.Generator) -> None:
        if outputs != self.outputs:
            raise ValueError(
                f"outputs={outputs}, want {self.outputs}: act.Mean has a fixed number; "
                "act.Owners and act.Readout leave it free after training"
            )

    def forward(
        self, y: Float[Tensor, "B E Y"], address: Tensor | None, present: Bool[Tensor, "B E"] | None
    ) -> Float[Tensor, "B D"]:
        if present is None:
            return self.linear(y.mean(1))
        there = present.unsqueeze(-1)
        count = there.sum(1)  # (B, 1)
        mean = torch.where(there, y, 0).sum(1) / count.clamp(min=1)
        return torch.where(count > 0, self.linear(mean), 0)


class Owned(Act):
    """Every expert makes one output; an output is the mean of its owners. The address (B, D, E) holds their shares."""

    def __init__(self, input_size: int, outputs: int):
        super().__init__()
        self.input_size, self.outputs = input_size, outputs
        self.linear = nn.Linear(input_size, 1)

    def forward(
        self, y: Float[Tensor, "B E Y"], address: Tensor | None, present: Bool[Tensor, "B E"] | None
    ) -> Float[Tensor, "B D"]:
        assert address is not None
        return _spread(address, self.linear(y), present)


class Each(Owned):
    """Expert i makes output i mod D; experts of one output are averaged. The number of experts is a multiple of D."""

    def address(self, like: Tensor, experts: int, outputs: int, rng: torch.Generator) -> Tensor:
        if experts % outputs:
            raise ValueError(
                f"experts={experts}, want a multiple of outputs={outputs}: act.Each gives every output the same "
                "number of experts; act.Owners wants at least one, act.Mean and act.Readout any number"
            )
        owner = torch.arange(experts, device=like.device) % outputs
        return _shares(owner.expand(like.shape[0], -1), outputs, like)

    def join(self, address: Tensor | None, like: Tensor, experts: int, rng: torch.Generator) -> Tensor:
        assert address is not None
        return self.address(like, experts, address.shape[1], rng)


class Owners(Owned):
    """Every expert owns one output, drawn anew for each episode.

    Every output is owned by E // D experts or one more. D and E are free after training, as long as E >= D.
    """

    def address(self, like: Tensor, experts: int, outputs: int, rng: torch.Generator) -> Tensor:
        if experts < outputs:
            raise ValueError(
                f"experts={experts}, want at least outputs={outputs}: act.Owners gives every output an owner; "
                "act.Mean and act.Readout take any number of experts"
            )
        order = torch.rand(like.shape[0], experts, generator=rng, device=like.device).argsort(-1)
        return _shares(order % outputs, outputs, like)

    def join(self, address: Tensor | None, like: Tensor, experts: int, rng: torch.Generator) -> Tensor:
        assert address is not None
        batch, outputs, before = address.shape
        kept = address.argmax(1)  # (B, E)
        new = torch.randint(outputs, (batch, experts - before), generator=rng, device=address.device)
        return _shares(torch.cat([kept, new], 1), outputs, like)


class Readout(Act):
    """Each output is an attention query over the experts: a learned stub beside an address drawn for each episode.

    As in GoodAI's public code for Rosa et al. 2019: the number of outputs and of experts are both free after training.
    The address is (B, D, address_size), standard normal.
    """

    def __init__(self, input_size: int, outputs: int, *, stub_size: int = 16, address_size: int = 16):
        super().__init__()
        self.input_size, self.outputs, self.address_size = input_size, outputs, address_size
        self.stub = nn.Parameter(torch.randn(stub_size))
        self.key_value = nn.Linear(input_size, stub_size + address_size + 1)

    def address(self, like: Tensor, experts: int, outputs: int, rng: torch.Generator) -> Tensor:
        shape = (like.shape[0], outputs, self.address_size)
        return torch.randn(shape, generator=rng, device=like.device, dtype=like.dtype)

    def forward(
        self, y: Float[Tensor, "B E Y"], address: Tensor | None, present: Bool[Tensor, "B E"] | None
    ) -> Float[Tensor, "B D"]:
        assert address is not None
        query = torch.cat([self.stub.expand(*address.shape[:2], -1), address], -1)  # (B, D, K)
        keys, values = self.key_value(y).split([query.shape[-1], 1], -1)
        scores = query @ keys.mT * query.shape[-1] ** -0.5  # (B, D, E)
        if present is None:
            return (scores.softmax(-1) @ values).squeeze(-1)
        there = present.unsqueeze(1)
        lowest = torch.finfo(scores.dtype).min
        weights = scores.masked_fill(~there, lowest).softmax(-1) * there  # all zero where nobody is there
        return (weights @ values).squeeze(-1)


def _shares(owner: Tensor, outputs: int, like: Tensor) -> Tensor:
    """(B, E) owned outputs -> (B, D, E) shares that add up to 1 over the owners of an output."""
    mine = (owner.unsqueeze(1) == torch.arange(outputs, device=owner.device).unsqueeze(-1)).to(like.dtype)
    return mine / mine.sum(-1, keepdim=True)


def _spread(shares: Tensor, values: Tensor, present: Tensor | None) -> Tensor:
    """(B, D, E), (B, E, 1) -> (B, D); the shares of the absent go to the other owners."""
    if present is not None:
        shares = shares * present.unsqueeze(1)
        total = shares.sum(-1, keepdim=True)
        shares = shares / torch.where(total > 0, total, 1)
        values = torch.where(present.unsqueeze(-1), values, 0)
    return (shares @ values).squeeze(-1)


ACTS: dict[str, type[Act]] = {"mean": Mean, "each": Each, "owners": Owners, "readout": Readout}
"""Acting ports by name, each (input_size, outputs) -> Act."""
