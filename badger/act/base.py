"""The base class of output heads, and the heads with a fixed number of outputs.

Shapes as in `badger.act`.
"""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from badger.teams import team_size


class Act(nn.Module, ABC):
    """An output head: from the outputs of all experts, (B, E, Y), to one action, (B, D), or (B, P, D) in `Team`.

    A subclass sets `input_size` (Y), `outputs` (D, unless another number is asked for in `make_assignment`) and, where experts
    observe a name of their output, its size `name_size`. It implements `make_assignment` and `forward`.
    """

    input_size: int
    outputs: int
    name_size: int = 0

    @abstractmethod
    def make_assignment(self, like: Tensor, experts: int, outputs: int, rng: torch.Generator) -> Tensor | None:
        """The assignment of outputs to experts for new episodes; None for a head without one.

        Args:
            like: a tensor (B, ...) that gives batch, dtype and device.
            experts: the number of experts.
            outputs: the number of outputs.
            rng: the generator of random assignments.

        Raises:
            ValueError: these numbers of experts and outputs do not fit.
        """

    @abstractmethod
    def forward(
        self, y: Float[Tensor, "B E Y"], address: Tensor | None, present: Bool[Tensor, "B E"] | None
    ) -> Float[Tensor, "B *PD"]:
        """The outputs of the agent: the numbers of its action, and what a wrapper adds.

        Args:
            y: the outputs of all experts.
            make_assignment: the assignment that `make_assignment` returned.
            present: experts that take part; None: all.
        """

    def extend_assignment(
        self, address: Tensor | None, like: Tensor, experts: int, rng: torch.Generator
    ) -> Tensor | None:
        """The assignment after new experts were added. Experts that were there before keep their outputs.

        Args:
            make_assignment: the assignment before.
            like: a tensor (B, ...) that gives batch, dtype and device.
            experts: the number of experts including the new ones.
            rng: the generator of random assignments.
        """
        return address

    def output_names(self, address: Tensor | None, experts: int) -> Tensor | None:
        """The name of each expert's output, (B, E, name_size), which becomes part of its input; None without names.

        Args:
            make_assignment: the assignment of outputs to experts.
            experts: the number of experts.
        """
        return None


class Mean(Act):
    """The mean over experts of a linear map. Any number of experts; the number of outputs is fixed."""

    def __init__(self, input_size: int, outputs: int):
        super().__init__()
        self.input_size, self.outputs = input_size, outputs
        self.linear = nn.Linear(input_size, outputs)

    def make_assignment(self, like: Tensor, experts: int, outputs: int, rng: torch.Generator) -> None:
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

    def make_assignment(self, like: Tensor, experts: int, outputs: int, rng: torch.Generator) -> None:
        if outputs != self.outputs:
            raise ValueError(f"outputs={outputs}, want {self.outputs}: act.Team has a fixed number for each agent")
        team_size(experts, self.agents)

    def forward(
        self, y: Float[Tensor, "B E Y"], address: Tensor | None, present: Bool[Tensor, "B E"] | None
    ) -> Float[Tensor, "B P D"]:
        teams = y.unflatten(1, (-1, self.agents))  # (B, k, P, Y)
        if present is None:
            return self.linear(teams.mean(1))
        there = present.unflatten(1, (-1, self.agents)).unsqueeze(-1)
        return _mean(self.linear, teams, there)

    def extend_assignment(self, address: Tensor | None, like: Tensor, experts: int, rng: torch.Generator) -> None:
        team_size(experts, self.agents)


def _mean(linear: nn.Linear, y: Tensor, there: Tensor) -> Tensor:
    """The linear map of the mean over axis 1 of y, of those who are there, (..., 1); 0 where nobody is."""
    count = there.sum(1)
    mean = torch.where(there, y, 0).sum(1) / count.clamp(min=1)
    return torch.where(count > 0, linear(mean), 0)
