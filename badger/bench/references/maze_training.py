"""The references of training in a maze, with A2C, as described by Miconi et al.

2018 (arXiv:1804.02464): one episode of 250 steps at a time. 2019 (arXiv:2002.10585): 30 episodes of 200 steps. The
whole episode is differentiated.

Shapes: T step, B episode, I input, A action.
"""

from abc import abstractmethod
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from badger.bench.references.mazes import ManyMazes, OneMaze
from tasks import Maze

OF_2018, OF_2019 = Maze.plasticity(), Maze.backpropamine()


class PolicyOutput(NamedTuple):
    """penalty: what the network would have smaller, besides the loss of A2C; with its weight."""

    logits: Float[Tensor, "B A"]
    value: Float[Tensor, " B"]
    penalty: Float[Tensor, " B"]


class Network(nn.Module):
    """policy, value: of hidden_size numbers."""

    def __init__(self, hidden_size: int, actions: int):
        super().__init__()
        self.policy, self.value = nn.Linear(hidden_size, actions), nn.Linear(hidden_size, 1)

    @abstractmethod
    def begin(self, batch: int) -> Any:
        """The state before the first step."""

    @abstractmethod
    def forward(self, x: Float[Tensor, "B I"], state: Any) -> tuple[PolicyOutput, Any]: ...


def a2c_loss(
    log_probability: Float[Tensor, "T B"],
    value: Float[Tensor, "T B"],
    probabilities: Float[Tensor, "T B A"],
    reward: Float[Tensor, "T B"],
    *,
    gamma: float,
    value_weight: float,
    concentration: float,
) -> Float[Tensor, ""]:
    """Mean over steps of -log pi (R - V) + value_weight (R - V)^2 + concentration sum pi^2.

    R is the sum of all rewards that are still to come, discounted; every row has a value of its own.
    """
    returns, ahead = [], torch.zeros_like(reward[0])
    for now in reward.flip(0):
        ahead = now + gamma * ahead
        returns.append(ahead)
    advantage = torch.stack(returns[::-1]) - value
    policy = -log_probability * advantage.detach()
    return (policy + value_weight * advantage.square() + concentration * probabilities.square().sum(-1)).mean()


class MazeTraining:
    """An update plays a batch of episodes, differentiates through them, and takes a step of Adam.

    Args:
        network: of 17 inputs and 4 actions.
        mazes: B of them. rng: on the CPU; actions are drawn from it. clip: largest norm of the gradient; None: any.
        value_weight, concentration, gamma: of the loss.
    """

    def __init__(
        self,
        network: Network,
        mazes: OneMaze | ManyMazes,
        rng: torch.Generator,
        *,
        value_weight: float,
        concentration: float,
        clip: float | None,
        lr: float = 1e-4,
        gamma: float = 0.9,
    ):
        self.network, self.mazes, self.rng, self.clip = network, mazes, rng, clip
        self.loss = partial(a2c_loss, gamma=gamma, value_weight=value_weight, concentration=concentration)
        self.optimiser = torch.optim.Adam(self.network.parameters(), lr=lr, eps=1e-4)

    @classmethod
    def of_2018(cls, network: Network, rng: torch.Generator, *, task: Maze = OF_2018) -> "MazeTraining":
        """One episode in an update."""
        return cls(network, OneMaze(task, _draws(rng)), rng, value_weight=0.03, concentration=0.1, clip=None)

    @classmethod
    def of_2019(
        cls, network: Network, rng: torch.Generator, *, task: Maze = OF_2019, batch: int = 30
    ) -> "MazeTraining":
        """A batch of episodes in an update."""
        mazes = ManyMazes(task, _draws(rng), batch=batch)
        return cls(network, mazes, rng, value_weight=0.1, concentration=0.03, clip=4.0)

    def update(self) -> Float[Tensor, " B"]:
        """The total reward of each episode."""
        played, penalty, reward = self.play()
        self.optimiser.zero_grad()
        (self.loss(*played, reward) + penalty.mean()).backward()
        if self.clip is not None:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.clip)
        self.optimiser.step()
        return reward.sum(0)

    def play(self) -> tuple[tuple[Tensor, Tensor, Tensor], Float[Tensor, "T B"], Float[Tensor, "T B"]]:
        """Log-probabilities of what was done, values, and probabilities; penalties; and rewards."""
        obs = self.mazes.reset()
        state = self.network.begin(len(obs))
        told, rewards = [], []
        for _ in range(self.mazes.task.steps):
            said, state = self.network(torch.from_numpy(obs), state)
            log_probabilities = said.logits.log_softmax(-1)
            probabilities = log_probabilities.exp()
            action = torch.multinomial(probabilities.detach(), 1, generator=self.rng)
            told.append((log_probabilities.gather(1, action).squeeze(1), said.value, probabilities, said.penalty))
            obs, reward = self.mazes.step(action.squeeze(1).numpy())
            rewards.append(reward)
        chosen, values, shares, penalties = (torch.stack(part) for part in zip(*told, strict=True))
        return (chosen, values, shares), penalties, torch.from_numpy(np.stack(rewards))


def _draws(rng: torch.Generator) -> np.random.Generator:
    """A generator of NumPy's that follows from torch's."""
    return np.random.default_rng(int(torch.randint(2**62, (), generator=rng)))
