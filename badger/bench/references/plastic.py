"""The plastic network of Miconi et al. 2018 (arXiv:1804.02464), written directly from its equations.

Shapes: B episode, H unit, I input.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from badger.bench.references.maze_training import Network, PolicyOutput

State = tuple[Float[Tensor, "B H"], Float[Tensor, "B H H"]]  # h, trace


class PlasticNetwork(Network):
    """A recurrent layer with weights w + alpha * trace and Oja's rule with a learned rate.

    Args:
        input_size: I.
        hidden_size: H.
        actions: number of actions.
    """

    def __init__(self, input_size: int, hidden_size: int, actions: int):
        super().__init__(hidden_size, actions)
        self.input = nn.Linear(input_size, hidden_size)
        self.w = nn.Parameter(0.01 * torch.rand(hidden_size, hidden_size))
        self.alpha = nn.Parameter(0.01 * torch.rand(hidden_size, hidden_size))
        self.rate = nn.Parameter(torch.tensor(0.01))

    def initial_state(self, batch: int) -> State:
        size = len(self.w)
        return self.w.new_zeros(batch, size), self.w.new_zeros(batch, size, size)

    def forward(self, x: Float[Tensor, "B I"], state: State) -> tuple[PolicyOutput, State]:
        h, trace = state
        recurrent = torch.bmm(h.unsqueeze(1), self.w + self.alpha * trace).squeeze(1)
        new_h = torch.tanh(self.input(x) + recurrent)
        y = new_h.unsqueeze(1)
        trace = trace + self.rate * y * (h.unsqueeze(2) - trace * y)  # Oja's rule
        value = self.value(new_h).squeeze(-1)
        return PolicyOutput(self.policy(new_h), value, torch.zeros_like(value)), (new_h, trace)
