"""An agent that acts by alpha vectors on its exact belief, for rollouts and evaluations beside trained agents."""

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from badger.act import Act
from badger.agent import Agent
from badger.planning.alpha_vectors import AlphaVectors
from badger.sense import Broadcast
from comms import Silent
from experts import BeliefFilter
from tasks import Pomdp, PreviousActionReward
from tasks.pomdp import PomdpModel


class AlphaVectorHead(Act):
    """An output head that gives each action the value of its highest alpha vector at the belief.

    It is a function of the mean belief over experts. An action without an alpha vector has the value -1e9.

    Args:
        policy: the alpha vectors.
        outputs: number of actions.
    """

    vectors: Tensor
    of_action: Tensor

    def __init__(self, policy: AlphaVectors, outputs: int):
        super().__init__()
        self.input_size, self.outputs = policy.vectors.shape[1], outputs
        self.register_buffer("vectors", torch.tensor(policy.vectors))
        self.register_buffer("of_action", torch.tensor(policy.actions == np.arange(outputs)[:, None]))  # (A, K)

    def make_assignment(self, like: Tensor, experts: int, outputs: int, rng: torch.Generator) -> None:
        if outputs != self.outputs:
            raise ValueError(f"outputs={outputs}, want {self.outputs}: the alpha vectors are of so many actions")

    def forward(
        self, y: Float[Tensor, "B E Y"], assignment: Tensor | None, present: Bool[Tensor, "B E"] | None
    ) -> Float[Tensor, "B D"]:
        values = y.mean(1) @ self.vectors.to(y).T  # (B, K)
        return torch.where(self.of_action, values.unsqueeze(1), -1e9).amax(-1)


def belief_agent(model: PomdpModel, policy: AlphaVectors) -> tuple[Agent, PreviousActionReward]:
    """An agent of one expert that filters its belief and acts by alpha vectors, and the task that it observes.

    `badger.evaluate(agent, task, 100, rng, Greedy(task.action_space))` plays it.

    Args:
        model: of the world.
        policy: alpha vectors of the model, such as those of `badger.planning.heuristic_search`.
    """
    task = PreviousActionReward(Pomdp(model=model))
    head = AlphaVectorHead(policy, len(model.actions))
    core = BeliefFilter(task.obs_size, model=model)
    agent = Agent(
        sense=Broadcast(task.obs_size),
        core=core,
        bus=Silent(core.output_size, 0),
        act=head,
        topology="none",
        experts=1,
        identity_size=0,
    )
    return agent, task
