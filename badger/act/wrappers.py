"""Ports around another port: what they put out besides.

Shapes as in `badger.act`.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from badger.act.base import Act, Mean, Team


class Gaussian(Act):
    """A port whose outputs are the means of real numbers to be drawn, and behind them the logarithms of their standard
    deviations (`badger.policies.gaussian`): one learned number for all outputs, whatever is seen.

    So addresses, names and the number of outputs are the port's, and this stays free after training where it is free.
    """

    def __init__(self, base: Act, *, log_std: float = 0.0):
        super().__init__()
        self.base, self.log_std = base, nn.Parameter(torch.tensor(log_std))
        self.input_size, self.outputs, self.name_size = base.input_size, base.outputs, base.name_size
        self.agents = getattr(base, "agents", None)

    def make_assignment(self, like: Tensor, experts: int, outputs: int, rng: torch.Generator) -> Tensor | None:
        return self.base.make_assignment(like, experts, outputs, rng)

    def forward(
        self, y: Float[Tensor, "B E Y"], address: Tensor | None, present: Bool[Tensor, "B E"] | None
    ) -> Float[Tensor, "B *PD"]:
        mean = self.base(y, address, present)
        return torch.cat([mean, self.log_std.expand_as(mean)], -1)

    def extend_assignment(
        self, address: Tensor | None, like: Tensor, experts: int, rng: torch.Generator
    ) -> Tensor | None:
        return self.base.extend_assignment(address, like, experts, rng)

    def output_names(self, address: Tensor | None, experts: int) -> Tensor | None:
        return self.base.output_names(address, experts)


class WithCritic(Act):
    """A port, and a critic: what the port puts out, and as one number more the value of what may come, a linear map of
    the mean over experts that begins at 0 (actor and critic of one body, Mnih et al. 2016, arXiv:1602.01783).

    Addresses, names and the number of outputs are the port's.

    Args:
        critic: who tells the value; None: all experts together. Agents that act by a `Team` have a value each, told by
            a `Team` with one output.

    Raises:
        ValueError: a critic that does not fit the port.
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
        self, y: Float[Tensor, "B E Y"], address: Tensor | None, present: Bool[Tensor, "B E"] | None
    ) -> Float[Tensor, "B *PD"]:
        return torch.cat([self.base(y, address, present), self.critic(y, None, present)], -1)

    def extend_assignment(
        self, address: Tensor | None, like: Tensor, experts: int, rng: torch.Generator
    ) -> Tensor | None:
        return self.base.extend_assignment(address, like, experts, rng)

    def output_names(self, address: Tensor | None, experts: int) -> Tensor | None:
        return self.base.output_names(address, experts)


def _check_critic(port: Act, critic: Mean | Team) -> None:
    agents = getattr(port, "agents", None)
    if (critic.input_size, critic.outputs, getattr(critic, "agents", None)) != (port.input_size, 1, agents):
        plain = f"act.Mean({port.input_size}, 1)"
        wanted = plain if agents is None else f"act.Team({port.input_size}, 1, {agents})"
        raise ValueError(
            f"the critic is {_describe(critic)}, want {wanted}: a value for whatever act.{type(port).__name__} makes an "
            "action for"
        )


def _describe(port: Mean | Team) -> str:
    agents = f", {port.agents}" if isinstance(port, Team) else ""
    return f"act.{type(port).__name__}({port.input_size}, {port.outputs}{agents})"
