"""Reference of training in a maze: A2C with backpropagation through whole episodes, as described by Miconi et al.

2018 (arXiv:1804.02464): one episode of 250 steps per update. 2019 (arXiv:2002.10585): 30 episodes of 200 steps.

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
    """Outputs of a network at one step.

    Args:
        logits: of the actions.
        value: estimate of the return.
        penalty: auxiliary loss, multiplied by its weight.
    """

    logits: Float[Tensor, "B A"]
    value: Float[Tensor, " B"]
    penalty: Float[Tensor, " B"]


class Network(nn.Module):
    """A recurrent network with linear heads for policy and value.

    Args:
        hidden_size: inputs of both heads.
        actions: number of actions.
    """

    def __init__(self, hidden_size: int, actions: int):
        super().__init__()
        self.policy, self.value = nn.Linear(hidden_size, actions), nn.Linear(hidden_size, 1)

    @abstractmethod
    def initial_state(self, batch: int) -> Any:
        """Returns the state before the first step.

        Args:
            batch: number of episodes.
        """

    @abstractmethod
    def forward(self, x: Float[Tensor, "B I"], state: Any) -> tuple[PolicyOutput, Any]:
        """Returns outputs and the next state.

        Args:
            x: observation.
            state: of the network.
        """


def a2c_loss(
    log_prob: Float[Tensor, "T B"],
    value: Float[Tensor, "T B"],
    probabilities: Float[Tensor, "T B A"],
    reward: Float[Tensor, "T B"],
    *,
    gamma: float,
    value_weight: float,
    concentration: float,
) -> Float[Tensor, ""]:
    """Mean over steps of -log pi (R - V) + value_weight (R - V)^2 + concentration sum pi^2.

    R is the discounted sum of the rewards from this step on.

    Args:
        log_prob: log pi of the actions taken.
        value: V.
        probabilities: pi of all actions.
        reward: of each step.
        gamma: discount.
        value_weight: weight of the loss of V.
        concentration: weight of the sum of squared probabilities, which favors exploration.
    """
    returns, return_ = [], torch.zeros_like(reward[0])
    for step_reward in reward.flip(0):
        return_ = step_reward + gamma * return_
        returns.append(return_)
    advantage = torch.stack(returns[::-1]) - value
    policy = -log_prob * advantage.detach()
    return (policy + value_weight * advantage.square() + concentration * probabilities.square().sum(-1)).mean()


class MazeTraining:
    """A2C by backpropagation through whole episodes and Adam.

    Args:
        network: with 17 inputs and 4 actions.
        mazes: a batch of B mazes.
        rng: samples actions; on the CPU.
        value_weight, concentration, gamma: see `a2c_loss`.
        clip: maximum norm of the gradient; None: no clipping.
        lr: learning rate of Adam.
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
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=lr, eps=1e-4)

    @classmethod
    def of_2018(cls, network: Network, rng: torch.Generator, *, task: Maze = OF_2018) -> "MazeTraining":
        """The setting of 2018: one episode per update.

        Args:
            network: with 17 inputs and 4 actions.
            rng: samples actions and mazes.
            task: sizes of the maze.
        """
        return cls(network, OneMaze(task, _numpy_generator(rng)), rng, value_weight=0.03, concentration=0.1, clip=None)

    @classmethod
    def of_2019(
        cls, network: Network, rng: torch.Generator, *, task: Maze = OF_2019, batch: int = 30
    ) -> "MazeTraining":
        """The setting of 2019: a batch of episodes per update.

        Args:
            network: with 17 inputs and 4 actions.
            rng: samples actions and mazes.
            task: sizes of the maze.
            batch: number of episodes.
        """
        mazes = ManyMazes(task, _numpy_generator(rng), batch=batch)
        return cls(network, mazes, rng, value_weight=0.1, concentration=0.03, clip=4.0)

    def update(self) -> Float[Tensor, " B"]:
        """Runs one update; returns the total reward of each episode."""
        loss_inputs, penalty, reward = self.rollout()
        self.optimizer.zero_grad()
        (self.loss(*loss_inputs, reward) + penalty.mean()).backward()
        if self.clip is not None:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.clip)
        self.optimizer.step()
        return reward.sum(0)

    def rollout(self) -> tuple[tuple[Tensor, Tensor, Tensor], Float[Tensor, "T B"], Float[Tensor, "T B"]]:
        """Returns (log-probabilities of the actions taken, values, probabilities), penalties, and rewards."""
        obs = self.mazes.reset()
        state = self.network.initial_state(len(obs))
        outputs, rewards = [], []
        for _ in range(self.mazes.task.steps):
            out, state = self.network(torch.from_numpy(obs), state)
            log_probs = out.logits.log_softmax(-1)
            probabilities = log_probs.exp()
            action = torch.multinomial(probabilities.detach(), 1, generator=self.rng)
            outputs.append((log_probs.gather(1, action).squeeze(1), out.value, probabilities, out.penalty))
            obs, reward = self.mazes.step(action.squeeze(1).numpy())
            rewards.append(reward)
        log_prob, values, probabilities, penalties = (torch.stack(part) for part in zip(*outputs, strict=True))
        return (log_prob, values, probabilities), penalties, torch.from_numpy(np.stack(rewards))


def _numpy_generator(rng: torch.Generator) -> np.random.Generator:
    """A NumPy generator seeded by torch's."""
    return np.random.default_rng(int(torch.randint(2**62, (), generator=rng)))
