"""An output head that is several: each member of a population acts by weights of its own in some rows of a batch.

Shapes: M members, B = M b rows, N experts, Y output of an expert, D numbers of an action.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.func import functional_call, vmap

from badger.act import Act
from badger.agent import Agent


class MemberAct(Act):
    """The wrapped head with other weights in each of M equal parts of the batch, one after the other.

    Args:
        base: the head.
        weights: of each member, by the names of the head's parameters.
    """

    def __init__(self, base: Act, weights: Mapping[str, Float[Tensor, "M *shape"]]):
        super().__init__()
        self.base, self.weights = base, dict(weights)
        self.members = len(next(iter(self.weights.values())))
        self.input_size, self.outputs, self.name_size = base.input_size, base.outputs, base.name_size

    def make_assignment(self, like: Tensor, experts: int, outputs: int, rng: torch.Generator) -> Tensor | None:
        return self.base.make_assignment(like, experts, outputs, rng)

    def forward(
        self, y: Float[Tensor, "B N Y"], assignment: Tensor | None, present: Bool[Tensor, "B N"] | None
    ) -> Float[Tensor, "B D"]:
        given = [None if part is None else part.unflatten(0, (self.members, -1)) for part in (y, assignment, present)]

        def act(weights: dict[str, Tensor], *parts: Tensor | None) -> Tensor:
            return functional_call(self.base, weights, parts)

        axes = (0, *(None if part is None else 0 for part in given))
        return vmap(act, in_dims=axes)(self.weights, *given).flatten(0, 1)

    def output_names(self, assignment: Tensor | None, experts: int) -> Tensor | None:
        return self.base.output_names(assignment, experts)


def member_agent(agent: Agent, members: Float[Tensor, "M n"]) -> Agent:
    """An agent that shares all parts with another one but for the weights of its output head.

    Args:
        agent: of which it is made.
        members: the weights of the head, side by side, of each member.
    """
    named = dict(agent.act.named_parameters())
    parts = members.split([parameter.numel() for parameter in named.values()], -1)
    weights = {
        name: part.unflatten(-1, like.shape).to(like.dtype)
        for (name, like), part in zip(named.items(), parts, strict=True)
    }
    return Agent(
        sense=agent.sense,
        core=agent.core,
        bus=agent.bus,
        act=MemberAct(agent.act, weights),
        topology=agent.topology,
        experts=agent.experts,
        identity_size=agent.identity_size,
        comm_rounds=agent.comm_rounds,
    )
