"""The references of training in a maze: plastic networks with A2C, as described by Miconi et al.

2018 (arXiv:1804.02464): one episode of 250 steps at a time, 200 units. 2019 (arXiv:2002.10585): 30 episodes of 200
steps, 100 units. Both with Oja's rule and a rate that is learned; the whole episode is differentiated.

Shapes: T step, B episode, H unit, I input, A action.
"""

from functools import partial

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from badger.bench.references.mazes import ManyMazes, OneMaze
from tasks import Maze

OF_2018, OF_2019 = Maze.plasticity(), Maze.backpropamine()


class PlasticNetwork(nn.Module):
    """A recurrent layer whose weights are w + alpha * trace; the trace (B, H, H) changes in each step."""

    def __init__(self, input_size: int, hidden_size: int, actions: int):
        super().__init__()
        self.input = nn.Linear(input_size, hidden_size)
        self.w = nn.Parameter(0.01 * torch.rand(hidden_size, hidden_size))
        self.alpha = nn.Parameter(0.01 * torch.rand(hidden_size, hidden_size))
        self.rate = nn.Parameter(torch.tensor(0.01))
        self.policy, self.value = nn.Linear(hidden_size, actions), nn.Linear(hidden_size, 1)

    def forward(
        self, x: Float[Tensor, "B I"], h: Float[Tensor, "B H"], trace: Float[Tensor, "B H H"]
    ) -> tuple[Float[Tensor, "B A"], Float[Tensor, " B"], Float[Tensor, "B H"], Float[Tensor, "B H H"]]:
        """Logits, values, and the new state."""
        recurrent = torch.bmm(h.unsqueeze(1), self.w + self.alpha * trace).squeeze(1)
        new = torch.tanh(self.input(x) + recurrent)
        out = new.unsqueeze(1)
        trace = trace + self.rate * out * (h.unsqueeze(2) - trace * out)  # Oja's rule
        return self.policy(new), self.value(new).squeeze(-1), new, trace


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


class PlasticTraining:
    """An update plays a batch of episodes, differentiates through them, and takes a step of Adam.

    Args:
        mazes: B of them. rng: on the CPU; actions are drawn from it. clip: largest norm of the gradient; None: any.
        value_weight, concentration, gamma: of the loss. The first weights are drawn from torch's own generator.
    """

    def __init__(
        self,
        mazes: OneMaze | ManyMazes,
        rng: torch.Generator,
        *,
        hidden_size: int,
        value_weight: float,
        concentration: float,
        clip: float | None,
        lr: float = 1e-4,
        gamma: float = 0.9,
    ):
        self.mazes, self.rng, self.hidden_size, self.clip = mazes, rng, hidden_size, clip
        self.loss = partial(a2c_loss, gamma=gamma, value_weight=value_weight, concentration=concentration)
        self.network = PlasticNetwork(mazes.task.obs_size, hidden_size, mazes.task.action.n)
        self.optimiser = torch.optim.Adam(self.network.parameters(), lr=lr, eps=1e-4)

    @classmethod
    def of_2018(cls, rng: torch.Generator, *, task: Maze = OF_2018, hidden_size: int = 200) -> "PlasticTraining":
        """One episode in an update."""
        maze = OneMaze(task, _draws(rng))
        return cls(maze, rng, hidden_size=hidden_size, value_weight=0.03, concentration=0.1, clip=None)

    @classmethod
    def of_2019(
        cls, rng: torch.Generator, *, task: Maze = OF_2019, hidden_size: int = 100, batch: int = 30
    ) -> "PlasticTraining":
        """A batch of episodes in an update."""
        mazes = ManyMazes(task, _draws(rng), batch=batch)
        return cls(mazes, rng, hidden_size=hidden_size, value_weight=0.1, concentration=0.03, clip=4.0)

    def update(self) -> Float[Tensor, " B"]:
        """The total reward of each episode."""
        played, reward = self.play()
        self.optimiser.zero_grad()
        self.loss(*played, reward).backward()
        if self.clip is not None:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.clip)
        self.optimiser.step()
        return reward.sum(0)

    def play(self) -> tuple[tuple[Tensor, Tensor, Tensor], Float[Tensor, "T B"]]:
        """Log-probabilities of what was done, values, and probabilities; and rewards."""
        obs = self.mazes.reset()
        h = torch.zeros(len(obs), self.hidden_size)
        trace = torch.zeros(len(obs), self.hidden_size, self.hidden_size)
        told, rewards = [], []
        for _ in range(self.mazes.task.steps):
            logits, value, h, trace = self.network(torch.from_numpy(obs), h, trace)
            log_probabilities = logits.log_softmax(-1)
            probabilities = log_probabilities.exp()
            action = torch.multinomial(probabilities.detach(), 1, generator=self.rng)
            told.append((log_probabilities.gather(1, action).squeeze(1), value, probabilities))
            obs, reward = self.mazes.step(action.squeeze(1).numpy())
            rewards.append(reward)
        log_probability, values, all_probabilities = (torch.stack(part) for part in zip(*told, strict=True))
        return (log_probability, values, all_probabilities), torch.from_numpy(np.stack(rewards))


def _draws(rng: torch.Generator) -> np.random.Generator:
    """A generator of NumPy's that follows from torch's."""
    return np.random.default_rng(int(torch.randint(2**62, (), generator=rng)))
