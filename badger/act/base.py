"""The base class of output heads, and the heads with a fixed number of outputs.

Shapes as in `badger.act`.
"""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from badger.teams import team_size
from comms.sharding import Rows, Shard


class Act(nn.Module, ABC):
    """An output head: from the outputs of all experts, (B, E, Y), to one action, (B, D), or (B, P, D) in `Team`.

    A subclass sets `input_size` (Y), `outputs` (D, unless `make_assignment` gets another number) and, where experts
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
        self, y: Float[Tensor, "B E Y"], assignment: Tensor | None, present: Bool[Tensor, "B E"] | None
    ) -> Float[Tensor, "B *PD"]:
        """The outputs of the agent: the numbers of its action, and outputs that a wrapper adds.

        Args:
            y: the outputs of all experts.
            assignment: the result of `make_assignment` or `extend_assignment`.
            present: experts that take part; None: all.
        """

    def forward_sharded(
        self, y: Float[Tensor, "B N Y"], assignment: Tensor | None, shard: Shard
    ) -> Float[Tensor, "B *PD"]:
        """The same outputs where the experts are spread over several processes, in each of them.

        Args:
            y: the outputs of this process's own experts.
            assignment: the result of `select_experts`.
            shard: the part of this process, which sums over the processes.

        Raises:
            NotImplementedError: this head needs all experts in one process.
        """
        raise NotImplementedError(f"act.{type(self).__name__} needs all experts in one process")

    def select_experts(self, assignment: Tensor | None, rows: Rows) -> Tensor | None:
        """The assignment of some experts. Without an axis of experts, it is that of all.

        Args:
            assignment: of all experts.
            rows: which of them.
        """
        return assignment

    def extend_assignment(
        self, assignment: Tensor | None, like: Tensor, experts: int, rng: torch.Generator
    ) -> Tensor | None:
        """The assignment after new experts were added. The old experts keep their outputs.

        Args:
            assignment: the assignment before.
            like: a tensor (B, ...) that gives batch, dtype and device.
            experts: the number of experts including the new ones.
            rng: the generator of random assignments.
        """
        return assignment

    def output_names(self, assignment: Tensor | None, experts: int) -> Tensor | None:
        """The name of each expert's output, (B, E, name_size), which becomes part of its input; None without names.

        Args:
            assignment: the assignment of outputs to experts.
            experts: the number of experts.
        """
        return None


class Mean(Act):
    """The mean over experts of a linear map. Any number of experts; the number of outputs is fixed.

    Args:
        input_size: Y, outputs of an expert.
        outputs: D.
    """

    def __init__(self, input_size: int, outputs: int):
        super().__init__()
        self.input_size, self.outputs = input_size, outputs
        self.linear = nn.Linear(input_size, outputs)

    def make_assignment(self, like: Tensor, experts: int, outputs: int, rng: torch.Generator) -> None:
        if outputs != self.outputs:
            raise ValueError(
                f"outputs={outputs}, want {self.outputs}: act.Mean has a fixed number of outputs; "
                "act.RandomOwners and act.Readout support other numbers after training"
            )

    def forward(
        self, y: Float[Tensor, "B E Y"], assignment: Tensor | None, present: Bool[Tensor, "B E"] | None
    ) -> Float[Tensor, "B D"]:
        if present is None:
            return self.linear(_mean(y))
        return _masked_mean(self.linear, y, present.unsqueeze(-1))

    def forward_sharded(
        self, y: Float[Tensor, "B N Y"], assignment: Tensor | None, shard: Shard
    ) -> Float[Tensor, "B D"]:
        return self(mean_expert(y, shard), None, None)


class Team(Act):
    """A head for environments of several agents: for agent p the mean over experts e, e mod P = p, of a linear map.

    All teams share the map. The number of experts must be a multiple of P; the size of a team can change after
    training.

    Args:
        input_size: Y, outputs of an expert.
        outputs: D, for each agent.
        agents: P, agents of the environment.
    """

    def __init__(self, input_size: int, outputs: int, agents: int):
        super().__init__()
        self.input_size, self.outputs, self.agents = input_size, outputs, agents
        self.linear = nn.Linear(input_size, outputs)

    def make_assignment(self, like: Tensor, experts: int, outputs: int, rng: torch.Generator) -> None:
        if outputs != self.outputs:
            raise ValueError(
                f"outputs={outputs}, want {self.outputs}: act.Team has a fixed number of outputs for each agent"
            )
        team_size(experts, self.agents)

    def forward(
        self, y: Float[Tensor, "B E Y"], assignment: Tensor | None, present: Bool[Tensor, "B E"] | None
    ) -> Float[Tensor, "B P D"]:
        teams = y.unflatten(1, (-1, self.agents))  # (B, k, P, Y)
        if present is None:
            return self.linear(_mean(teams))
        return _masked_mean(self.linear, teams, present.unflatten(1, (-1, self.agents)).unsqueeze(-1))

    def extend_assignment(self, assignment: Tensor | None, like: Tensor, experts: int, rng: torch.Generator) -> None:
        team_size(experts, self.agents)


def mean_expert(y: Float[Tensor, "B N Y"], shard: Shard) -> Float[Tensor, "B 1 Y"]:
    """The mean output over the experts of all processes, as that of a single expert.

    Args:
        y: the outputs of this process's own experts.
        shard: the part of this process.
    """
    return shard.sum(y.sum(1, keepdim=True)) / shard.experts.total


def _mean(y: Tensor) -> Tensor:
    """The mean over axis 1, without an operation where it has one entry."""
    return y.mean(1) if y.shape[1] > 1 else y.squeeze(1)


def _masked_mean(linear: nn.Linear, y: Tensor, present: Tensor) -> Tensor:
    """The linear map of the mean over axis 1 of y where the mask (..., 1) is set; 0 where it is set nowhere."""
    count = present.sum(1)
    mean = torch.where(present, y, 0).sum(1) / count.clamp(min=1)
    return torch.where(count > 0, linear(mean), 0)
