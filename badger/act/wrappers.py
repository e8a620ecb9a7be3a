"""Wrappers of output heads: a critic, and standard deviations of continuous actions.

Shapes as in `badger.act`.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from badger.act.base import Act, Mean, Team
from comms.sharding import Rows, Shard
from tasks import ActionSpace, Continuous, Mixed


class Gaussian(Act):
    """A Gaussian head for real numbers: the wrapped head's outputs, the last as means, then log standard deviations.

    Learned log standard deviations do not depend on the observation (see `badger.policies.gaussian`). Assignments,
    names and the number of outputs are those of the wrapped head, so that they can change after training where the
    wrapped head supports it, and one deviation serves all outputs.

    Args:
        base: the wrapped head.
        log_std: initial log standard deviation.
        each: a deviation for each mean, whose number is then fixed.
        numbers: how many of the last outputs are means, those before are logits of choices (`tasks.Mixed`); None: all.
    """

    def __init__(self, base: Act, *, log_std: float = 0.0, each: bool = False, numbers: int | None = None):
        super().__init__()
        self.numbers = numbers
        shape = (base.outputs if numbers is None else numbers,) if each else ()
        self.base, self.log_std = base, nn.Parameter(torch.full(shape, log_std))
        self.input_size, self.outputs, self.name_size = base.input_size, base.outputs, base.name_size
        self.agents = getattr(base, "agents", None)

    def make_assignment(self, like: Tensor, experts: int, outputs: int, rng: torch.Generator) -> Tensor | None:
        return self.base.make_assignment(like, experts, outputs, rng)

    def forward(
        self, y: Float[Tensor, "B E Y"], assignment: Tensor | None, present: Bool[Tensor, "B E"] | None
    ) -> Float[Tensor, "B *PD"]:
        return self._with_log_std(self.base(y, assignment, present))

    def forward_sharded(
        self, y: Float[Tensor, "B N Y"], assignment: Tensor | None, shard: Shard
    ) -> Float[Tensor, "B *PD"]:
        return self._with_log_std(self.base.forward_sharded(y, assignment, shard))

    def _with_log_std(self, output: Tensor) -> Tensor:
        means = output if self.numbers is None else output[..., output.shape[-1] - self.numbers :]
        return torch.cat([output, self.log_std.expand_as(means)], -1)

    def extend_assignment(
        self, assignment: Tensor | None, like: Tensor, experts: int, rng: torch.Generator
    ) -> Tensor | None:
        return self.base.extend_assignment(assignment, like, experts, rng)

    def select_experts(self, assignment: Tensor | None, rows: Rows) -> Tensor | None:
        return self.base.select_experts(assignment, rows)

    def output_names(self, assignment: Tensor | None, experts: int) -> Tensor | None:
        return self.base.output_names(assignment, experts)


def with_deviations(head: Act, space: ActionSpace, *, each: bool = False) -> Act:
    """The head with standard deviations where an action has real numbers, else the head itself.

    Args:
        head: the wrapped head, with an output for each option and each number of the action.
        space: the action space.
        each: a deviation for each number.
    """
    if isinstance(space, Continuous):
        return Gaussian(head, each=each)
    return Gaussian(head, each=each, numbers=space.numbers.size) if isinstance(space, Mixed) else head


class WithCritic(Act):
    """Actor and critic in one head: the wrapped head's outputs, then a state value, linear in the mean over experts.

    The value is 0 at initialization. Assignments, names and the number of outputs are those of the wrapped head.

    Args:
        base: the wrapped head, the actor.
        critic: a head with one output; None: `Mean`. The critic of a `Team` is a `Team` with one output: a value for
            each agent.

    Raises:
        ValueError: a critic that does not fit the wrapped head.

    Source: Mnih et al. 2016 (arXiv:1602.01783).
    """

    def __init__(self, base: Act, critic: Mean | Team | None = None):
        super().__init__()
        self.base, self.critic = base, Mean(base.input_size, 1) if critic is None else critic
        _check_critic(self.base, self.critic)
        self.input_size, self.outputs, self.name_size = base.input_size, base.outputs, base.name_size
        nn.init.zeros_(self.critic.linear.weight)
        nn.init.zeros_(self.critic.linear.bias)

    def make_assignment(self, like: Tensor, experts: int, outputs: int, rng: torch.Generator) -> Tensor | None:
        return self.base.make_assignment(like, experts, outputs, rng)

    def forward(
        self, y: Float[Tensor, "B E Y"], assignment: Tensor | None, present: Bool[Tensor, "B E"] | None
    ) -> Float[Tensor, "B *PD"]:
        return torch.cat([self.base(y, assignment, present), self.critic(y, None, present)], -1)

    def forward_sharded(
        self, y: Float[Tensor, "B N Y"], assignment: Tensor | None, shard: Shard
    ) -> Float[Tensor, "B *PD"]:
        return torch.cat(
            [self.base.forward_sharded(y, assignment, shard), self.critic.forward_sharded(y, None, shard)], -1
        )

    def extend_assignment(
        self, assignment: Tensor | None, like: Tensor, experts: int, rng: torch.Generator
    ) -> Tensor | None:
        return self.base.extend_assignment(assignment, like, experts, rng)

    def select_experts(self, assignment: Tensor | None, rows: Rows) -> Tensor | None:
        return self.base.select_experts(assignment, rows)

    def output_names(self, assignment: Tensor | None, experts: int) -> Tensor | None:
        return self.base.output_names(assignment, experts)


def _check_critic(base: Act, critic: Mean | Team) -> None:
    agents = getattr(base, "agents", None)
    if (critic.input_size, critic.outputs, getattr(critic, "agents", None)) != (base.input_size, 1, agents):
        mean = f"act.Mean({base.input_size}, 1)"
        wanted = mean if agents is None else f"act.Team({base.input_size}, 1, {agents})"
        raise ValueError(
            f"critic is {_describe(critic)}, want {wanted}: one value for each action of act.{type(base).__name__}"
        )


def _describe(critic: Mean | Team) -> str:
    agents = f", {critic.agents}" if isinstance(critic, Team) else ""
    return f"act.{type(critic).__name__}({critic.input_size}, {critic.outputs}{agents})"
