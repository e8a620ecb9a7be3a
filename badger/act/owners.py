"""Ports in which each expert makes one output.

Shapes as in `badger.act`.
"""

from math import pi

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from badger.act.base import Act


class OwnedOutputs(Act):
    """Every expert makes one output; an output is the mean of its owners. The address (B, D, E) holds their shares."""

    def __init__(self, input_size: int, outputs: int):
        super().__init__()
        self.input_size, self.outputs = input_size, outputs
        self.linear = nn.Linear(input_size, 1)

    def forward(
        self, y: Float[Tensor, "B E Y"], address: Tensor | None, present: Bool[Tensor, "B E"] | None
    ) -> Float[Tensor, "B D"]:
        assert address is not None
        return _owner_mean(address, self.linear(y), present)


class RoundRobin(OwnedOutputs):
    """Expert i makes output i mod D; experts of one output are averaged. The number of experts is a multiple of D."""

    def make_assignment(self, like: Tensor, experts: int, outputs: int, rng: torch.Generator) -> Tensor:
        if experts % outputs:
            raise ValueError(
                f"experts={experts}, want a multiple of outputs={outputs}: act.Each gives every output the same "
                "number of experts; act.Owners wants at least one, act.Mean and act.Readout any number"
            )
        owner = torch.arange(experts, device=like.device) % outputs
        return _owner_weights(owner.expand(like.shape[0], -1), outputs, like)

    def extend_assignment(self, address: Tensor | None, like: Tensor, experts: int, rng: torch.Generator) -> Tensor:
        assert address is not None
        return self.make_assignment(like, experts, address.shape[1], rng)


class RandomOwners(OwnedOutputs):
    """Every expert owns one output, drawn anew for each episode.

    Every output is owned by E // D experts or one more. D and E are free after training, as long as E >= D.
    """

    def make_assignment(self, like: Tensor, experts: int, outputs: int, rng: torch.Generator) -> Tensor:
        if experts < outputs:
            raise ValueError(
                f"experts={experts}, want at least outputs={outputs}: act.Owners gives every output an owner; "
                "act.Mean and act.Readout take any number of experts"
            )
        return _owner_weights(_orders(like, experts, rng) % outputs, outputs, like)

    def extend_assignment(self, address: Tensor | None, like: Tensor, experts: int, rng: torch.Generator) -> Tensor:
        assert address is not None
        batch, outputs, before = address.shape
        kept = address.argmax(1)  # (B, E)
        new = torch.randint(outputs, (batch, experts - before), generator=rng, device=address.device)
        return _owner_weights(torch.cat([kept, new], 1), outputs, like)


class NamedOutputs(Act):
    """Owners that are told the name of what they own.

    As with `RandomOwners`, every expert makes one output, drawn anew for each episode. Besides, the D outputs draw D
    different names out of `NAMES`, and an expert's identity holds the name of its output: those who make the same
    output know it, and those who make others know that, so that experts need not find out from the errors whom they
    work with, however many they are. Names are places on a line, as waves of four frequencies (after Vaswani et
    al. 2017, arXiv:1706.03762, sec. 3.5); an agent that has met a few of them at a time has met them all, and can tell
    more outputs apart than it was trained with. Beyond NAMES outputs some share a name.

    D and E are free after training; where E < D, an expert makes several outputs, all
    alike, and is told the name of the first.

    The address is (B, D, E + name_size): the shares of the experts, and the output's name.
    """

    NAMES, FREQUENCIES = 20, (0.5, 1, 2, 4)
    name_size = 2 * len(FREQUENCIES)

    def __init__(self, input_size: int, outputs: int):
        super().__init__()
        self.input_size, self.outputs = input_size, outputs
        self.linear = nn.Linear(input_size, 1)

    def make_assignment(self, like: Tensor, experts: int, outputs: int, rng: torch.Generator) -> Tensor:
        order = _orders(like, experts, rng)
        makes = torch.arange(max(experts, outputs), device=like.device)  # pairs of an expert and an output
        mine = like.new_zeros(like.shape[0], outputs, experts)
        mine[torch.arange(len(mine), device=like.device).unsqueeze(-1), makes % outputs, order[:, makes % experts]] = 1
        angle = (_orders(like, max(self.NAMES, outputs), rng)[:, :outputs, None] % self.NAMES) * (2 * pi / self.NAMES)
        waves = angle * like.new_tensor(self.FREQUENCIES)
        return torch.cat([mine / mine.sum(-1, keepdim=True), waves.sin(), waves.cos()], -1)

    def output_names(self, address: Tensor | None, experts: int) -> Tensor:
        assert address is not None
        shares, names = address.split([experts, self.name_size], -1)
        makes = (shares > 0).to(torch.uint8).argmax(1)  # (B, E), the first of several
        return names.gather(1, makes.unsqueeze(-1).expand(-1, -1, self.name_size))

    def extend_assignment(self, address: Tensor | None, like: Tensor, experts: int, rng: torch.Generator) -> Tensor:
        assert address is not None
        batch, outputs, width = address.shape
        before = width - self.name_size
        shares, names = address.split([before, self.name_size], -1)
        new = torch.randint(outputs, (batch, experts - before), generator=rng, device=address.device)
        mine = torch.cat([(shares > 0).to(like.dtype), _owner_one_hot(new, outputs, like)], -1)
        return torch.cat([mine / mine.sum(-1, keepdim=True), names], -1)

    def forward(
        self, y: Float[Tensor, "B E Y"], address: Tensor | None, present: Bool[Tensor, "B E"] | None
    ) -> Float[Tensor, "B D"]:
        assert address is not None
        return _owner_mean(address[..., : y.shape[1]], self.linear(y), present)


def _owner_weights(owner: Tensor, outputs: int, like: Tensor) -> Tensor:
    """(B, E) owned outputs -> (B, D, E) shares that add up to 1 over the owners of an output."""
    mine = _owner_one_hot(owner, outputs, like)
    return mine / mine.sum(-1, keepdim=True)


def _owner_one_hot(owner: Tensor, outputs: int, like: Tensor) -> Tensor:
    """(B, E) owned outputs -> (B, D, E), 1 where it is owned."""
    return (owner.unsqueeze(1) == torch.arange(outputs, device=owner.device).unsqueeze(-1)).to(like.dtype)


def _orders(like: Tensor, count: int, rng: torch.Generator) -> Tensor:
    """A random order of `count` things for each episode, (B, count)."""
    return torch.rand(like.shape[0], count, generator=rng, device=like.device).argsort(-1)


def _owner_mean(shares: Tensor, values: Tensor, present: Tensor | None) -> Tensor:
    """(B, D, E), (B, E, 1) -> (B, D); the shares of the absent go to the other owners."""
    if present is not None:
        shares = shares * present.unsqueeze(1)
        total = shares.sum(-1, keepdim=True)
        shares = shares / torch.where(total > 0, total, 1)
        values = torch.where(present.unsqueeze(-1), values, 0)
    return (shares @ values).squeeze(-1)
