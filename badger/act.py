"""Ports through which experts act: from what the experts put out to one action of the agent.

Sensing and acting are two modules, for both have an `Each`: `sense.Each(...)`, `act.Each(...)`.

Shapes: B episode, E expert, P agent of the world, Y output of an expert, D numbers of an action (the dimensions of a
guess, the logits of a choice). An *address* is what a port draws anew for each episode; it is part of the agent's
state, and its shape tells the number of outputs. Experts that are not present have no say; an output that nobody is
left to make is 0.
"""

from abc import ABC, abstractmethod
from math import pi

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from badger.teams import team


class Act(nn.Module, ABC):
    """(B, E, Y) -> (B, D); of `Team`, (B, P, D)."""

    input_size: int
    outputs: int  # D where nothing else is asked for
    name_size: int = 0  # numbers that an expert is told of the outputs that it makes

    @abstractmethod
    def address(self, like: Tensor, experts: int, outputs: int, rng: torch.Generator) -> Tensor | None:
        """What an episode's outputs are bound to; like (B, ...) gives batch, dtype and device.

        Raises ValueError where so many experts and outputs do not fit.
        """

    @abstractmethod
    def forward(
        self, y: Float[Tensor, "B E Y"], address: Tensor | None, present: Bool[Tensor, "B E"] | None
    ) -> Float[Tensor, "B *PD"]: ...

    def join(self, address: Tensor | None, like: Tensor, experts: int, rng: torch.Generator) -> Tensor | None:
        """The address after newcomers have made it `experts` experts. Those who were there keep what they had."""
        return address

    def names(self, address: Tensor | None, experts: int) -> Tensor | None:
        """What each expert is told of the outputs that it makes, (B, E, name_size); it becomes part of its identity."""
        return None


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
        return _mean(self.linear, y, present.unsqueeze(-1))


class Team(Act):
    """In a world of several agents, each acts as its team says: the mean over experts e, e mod P = p, of a linear map.

    All teams share the map. The number of experts is a multiple of P; how many play for each is free after training.
    """

    def __init__(self, input_size: int, outputs: int, agents: int):
        super().__init__()
        self.input_size, self.outputs, self.agents = input_size, outputs, agents
        self.linear = nn.Linear(input_size, outputs)

    def address(self, like: Tensor, experts: int, outputs: int, rng: torch.Generator) -> None:
        if outputs != self.outputs:
            raise ValueError(f"outputs={outputs}, want {self.outputs}: act.Team has a fixed number for each agent")
        team(experts, self.agents)

    def forward(
        self, y: Float[Tensor, "B E Y"], address: Tensor | None, present: Bool[Tensor, "B E"] | None
    ) -> Float[Tensor, "B P D"]:
        teams = y.unflatten(1, (-1, self.agents))  # (B, k, P, Y)
        if present is None:
            return self.linear(teams.mean(1))
        there = present.unflatten(1, (-1, self.agents)).unsqueeze(-1)
        return _mean(self.linear, teams, there)

    def join(self, address: Tensor | None, like: Tensor, experts: int, rng: torch.Generator) -> None:
        team(experts, self.agents)


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
        return _shares(_orders(like, experts, rng) % outputs, outputs, like)

    def join(self, address: Tensor | None, like: Tensor, experts: int, rng: torch.Generator) -> Tensor:
        assert address is not None
        batch, outputs, before = address.shape
        kept = address.argmax(1)  # (B, E)
        new = torch.randint(outputs, (batch, experts - before), generator=rng, device=address.device)
        return _shares(torch.cat([kept, new], 1), outputs, like)


class Named(Act):
    """Owners that are told the name of what they own.

    As with `Owners`, every expert makes one output, drawn anew for each episode. Besides, the D outputs draw D
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

    def address(self, like: Tensor, experts: int, outputs: int, rng: torch.Generator) -> Tensor:
        order = _orders(like, experts, rng)
        makes = torch.arange(max(experts, outputs), device=like.device)  # pairs of an expert and an output
        mine = like.new_zeros(like.shape[0], outputs, experts)
        mine[torch.arange(len(mine), device=like.device).unsqueeze(-1), makes % outputs, order[:, makes % experts]] = 1
        angle = (_orders(like, max(self.NAMES, outputs), rng)[:, :outputs, None] % self.NAMES) * (2 * pi / self.NAMES)
        waves = angle * like.new_tensor(self.FREQUENCIES)
        return torch.cat([mine / mine.sum(-1, keepdim=True), waves.sin(), waves.cos()], -1)

    def names(self, address: Tensor | None, experts: int) -> Tensor:
        assert address is not None
        shares, names = address.split([experts, self.name_size], -1)
        makes = (shares > 0).to(torch.uint8).argmax(1)  # (B, E), the first of several
        return names.gather(1, makes.unsqueeze(-1).expand(-1, -1, self.name_size))

    def join(self, address: Tensor | None, like: Tensor, experts: int, rng: torch.Generator) -> Tensor:
        assert address is not None
        batch, outputs, width = address.shape
        before = width - self.name_size
        shares, names = address.split([before, self.name_size], -1)
        new = torch.randint(outputs, (batch, experts - before), generator=rng, device=address.device)
        mine = torch.cat([(shares > 0).to(like.dtype), _owned(new, outputs, like)], -1)
        return torch.cat([mine / mine.sum(-1, keepdim=True), names], -1)

    def forward(
        self, y: Float[Tensor, "B E Y"], address: Tensor | None, present: Bool[Tensor, "B E"] | None
    ) -> Float[Tensor, "B D"]:
        assert address is not None
        return _spread(address[..., : y.shape[1]], self.linear(y), present)


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


class Gaussian(Act):
    """A port whose outputs are the means of real numbers to be drawn, and behind them the logarithms of their standard
    deviations (`badger.gaussian`): one learned number for all outputs, whatever is seen.

    So addresses, names and the number of outputs are the port's, and this stays free after training where it is free.
    """

    def __init__(self, port: Act, *, log_std: float = 0.0):
        super().__init__()
        self.port, self.log_std = port, nn.Parameter(torch.tensor(log_std))
        self.input_size, self.outputs, self.name_size = port.input_size, port.outputs, port.name_size
        self.agents = getattr(port, "agents", None)

    def address(self, like: Tensor, experts: int, outputs: int, rng: torch.Generator) -> Tensor | None:
        return self.port.address(like, experts, outputs, rng)

    def forward(
        self, y: Float[Tensor, "B E Y"], address: Tensor | None, present: Bool[Tensor, "B E"] | None
    ) -> Float[Tensor, "B *PD"]:
        mean = self.port(y, address, present)
        return torch.cat([mean, self.log_std.expand_as(mean)], -1)

    def join(self, address: Tensor | None, like: Tensor, experts: int, rng: torch.Generator) -> Tensor | None:
        return self.port.join(address, like, experts, rng)

    def names(self, address: Tensor | None, experts: int) -> Tensor | None:
        return self.port.names(address, experts)


class Valued(Act):
    """A port, and a critic: what the port puts out, and as one number more the value of what may come, a linear map of
    the mean over experts that begins at 0 (actor and critic of one body, Mnih et al. 2016, arXiv:1602.01783).

    Addresses, names and the number of outputs are the port's.

    Args:
        critic: who tells the value; None: all experts together. Agents that act by a `Team` have a value each, told by
            a `Team` with one output.

    Raises:
        ValueError: a critic that does not fit the port.
    """

    def __init__(self, port: Act, critic: Mean | Team | None = None):
        super().__init__()
        self.port, self.value = port, Mean(port.input_size, 1) if critic is None else critic
        _fitting(self.port, self.value)
        self.input_size, self.outputs, self.name_size = port.input_size, port.outputs, port.name_size
        nn.init.zeros_(self.value.linear.weight)
        nn.init.zeros_(self.value.linear.bias)

    def address(self, like: Tensor, experts: int, outputs: int, rng: torch.Generator) -> Tensor | None:
        return self.port.address(like, experts, outputs, rng)

    def forward(
        self, y: Float[Tensor, "B E Y"], address: Tensor | None, present: Bool[Tensor, "B E"] | None
    ) -> Float[Tensor, "B *PD"]:
        return torch.cat([self.port(y, address, present), self.value(y, None, present)], -1)

    def join(self, address: Tensor | None, like: Tensor, experts: int, rng: torch.Generator) -> Tensor | None:
        return self.port.join(address, like, experts, rng)

    def names(self, address: Tensor | None, experts: int) -> Tensor | None:
        return self.port.names(address, experts)


def _mean(linear: nn.Linear, y: Tensor, there: Tensor) -> Tensor:
    """The linear map of the mean over axis 1 of y, of those who are there, (..., 1); 0 where nobody is."""
    count = there.sum(1)
    mean = torch.where(there, y, 0).sum(1) / count.clamp(min=1)
    return torch.where(count > 0, linear(mean), 0)


def _fitting(port: Act, critic: Mean | Team) -> None:
    agents = getattr(port, "agents", None)
    if (critic.input_size, critic.outputs, getattr(critic, "agents", None)) != (port.input_size, 1, agents):
        plain = f"act.Mean({port.input_size}, 1)"
        wanted = plain if agents is None else f"act.Team({port.input_size}, 1, {agents})"
        raise ValueError(
            f"the critic is {_told(critic)}, want {wanted}: a value for whatever act.{type(port).__name__} makes an "
            "action for"
        )


def _told(port: Mean | Team) -> str:
    agents = f", {port.agents}" if isinstance(port, Team) else ""
    return f"act.{type(port).__name__}({port.input_size}, {port.outputs}{agents})"


def _shares(owner: Tensor, outputs: int, like: Tensor) -> Tensor:
    """(B, E) owned outputs -> (B, D, E) shares that add up to 1 over the owners of an output."""
    mine = _owned(owner, outputs, like)
    return mine / mine.sum(-1, keepdim=True)


def _owned(owner: Tensor, outputs: int, like: Tensor) -> Tensor:
    """(B, E) owned outputs -> (B, D, E), 1 where it is owned."""
    return (owner.unsqueeze(1) == torch.arange(outputs, device=owner.device).unsqueeze(-1)).to(like.dtype)


def _orders(like: Tensor, count: int, rng: torch.Generator) -> Tensor:
    """A random order of `count` things for each episode, (B, count)."""
    return torch.rand(like.shape[0], count, generator=rng, device=like.device).argsort(-1)


def _spread(shares: Tensor, values: Tensor, present: Tensor | None) -> Tensor:
    """(B, D, E), (B, E, 1) -> (B, D); the shares of the absent go to the other owners."""
    if present is not None:
        shares = shares * present.unsqueeze(1)
        total = shares.sum(-1, keepdim=True)
        shares = shares / torch.where(total > 0, total, 1)
        values = torch.where(present.unsqueeze(-1), values, 0)
    return (shares @ values).squeeze(-1)


ACTS: dict[str, type[Act]] = {"mean": Mean, "each": Each, "owners": Owners, "named": Named, "readout": Readout}
"""Acting ports of one actor by name, each (input_size, outputs) -> Act. A world of several agents takes a `Team`."""
