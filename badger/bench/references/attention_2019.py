"""The reference of a whole agent: the attention agent of Rosa et al. 2019 (arXiv:1912.01513), from descriptions of it.

Known: experts of gated linear layers with a hidden state of 64; attention with 4 query heads; a readout in which each
output is an attention query, a learned stub of 16 beside a random address of 16; a random identity of 16 an expert;
80,977 parameters; Adam; 100 episodes a step; the loss is the error of the last guess. Filled in, to come near to
that number (80,817, 0.2 % fewer): keys and values as wide as the hidden state, which the heads share; two gated linear
layers and a linear one before the readout, all of that width; the identity is what the hidden state begins with. The
original is said to hold 1.0 GB and take 8.4 CPU-seconds; what makes it larger and slower is not in the descriptions.

Shapes: B episode, N expert, H query head, K key, V value, D dimension of a guess.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import glu

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]


def broadcast_multiply(
    query: Float[Tensor, "B N H K"], key: Float[Tensor, "B N K"], value: Float[Tensor, "B N V"]
) -> Float[Tensor, "B N HV"]:
    """Everyone attends to everyone: products laid out for each pair and then summed, as the original does."""
    products = query.unsqueeze(2) * key[:, None, :, None]  # (B, N, N, H, K)
    weights = (products.sum(-1) * key.shape[-1] ** -0.5).softmax(2)  # (B, N, N, H)
    return (weights.unsqueeze(-1) * value[:, None, :, None]).sum(2).flatten(2)


def matrix_products(
    query: Float[Tensor, "B N H K"], key: Float[Tensor, "B N K"], value: Float[Tensor, "B N V"]
) -> Float[Tensor, "B N HV"]:
    """The same by two matrix products."""
    scores = query.flatten(1, 2) @ key.mT * key.shape[-1] ** -0.5  # (B, N H, N)
    return (scores.softmax(-1) @ value).view(*query.shape[:2], -1)


class AttentionAgent(nn.Module):
    """Plays whole episodes of the guessing game."""

    def __init__(self, attend: Attend, *, hidden_size: int = 64, heads: int = 4, identity_size: int = 16):
        super().__init__()
        self.attend, self.hidden_size, self.heads, self.identity_size = attend, hidden_size, heads, identity_size
        self.first = nn.Linear((1 + heads) * hidden_size + 1, 2 * hidden_size)  # half of it gates
        self.second = nn.Linear(hidden_size, 2 * hidden_size)
        self.query = nn.Linear(hidden_size, heads * hidden_size)
        self.key = nn.Linear(hidden_size, hidden_size)
        self.value = nn.Linear(hidden_size, hidden_size)
        self.out = nn.Linear(hidden_size, hidden_size)
        self.stub = nn.Parameter(torch.randn(identity_size))
        self.out_key = nn.Linear(hidden_size, 2 * identity_size)
        self.out_value = nn.Linear(hidden_size, 1)

    def forward(
        self,
        target: Float[Tensor, "B D"],
        identity: Float[Tensor, "B N I"],
        address: Float[Tensor, "B D I"],
        steps: int,
    ) -> Float[Tensor, " B"]:
        """The error of the last guess."""
        batch, experts, _ = identity.shape
        rest = identity.new_zeros(batch, experts, self.hidden_size - self.identity_size)
        hidden = torch.cat([identity, rest], -1)
        inbox = identity.new_zeros(batch, experts, self.heads * self.hidden_size)
        asked = torch.cat([self.stub.expand_as(address), address], -1)  # (B, D, 2 I)
        guess = torch.zeros_like(target)
        for _ in range(steps):
            told = self._error(guess, target)[:, None, None].expand(-1, experts, 1)
            hidden = glu(self.second(glu(self.first(torch.cat([hidden, inbox, told], -1)))))
            query = self.query(hidden).unflatten(-1, (self.heads, -1))
            inbox = self.attend(query, self.key(hidden), self.value(hidden))
            guess = self._guess(self.out(hidden).tanh(), asked)
        return self._error(guess, target)

    def _guess(self, said: Tensor, asked: Tensor) -> Tensor:
        scores = asked @ self.out_key(said).mT * asked.shape[-1] ** -0.5  # (B, D, N)
        return (scores.softmax(-1) @ self.out_value(said)).squeeze(-1)

    def _error(self, guess: Tensor, target: Tensor) -> Tensor:
        return 3 * (guess - target).square().mean(-1)


class Training:
    """One outer step of the agent on new episodes: forward, backward, Adam."""

    def __init__(self, agent: AttentionAgent, *, batch: int, experts: int, dims: int, steps: int, rng: torch.Generator):
        self.agent, self.batch, self.experts, self.dims, self.steps, self.rng = agent, batch, experts, dims, steps, rng
        self.optimiser = torch.optim.Adam(agent.parameters(), lr=1e-3)

    def update(self) -> Tensor:
        """The mean loss."""
        target, identity, address = self._episodes()
        self.optimiser.zero_grad()
        loss = self.agent(target, identity, address, self.steps).mean()
        loss.backward()
        self.optimiser.step()
        return loss.detach()

    def _episodes(self) -> tuple[Tensor, Tensor, Tensor]:
        rng, size = self.rng, self.agent.identity_size
        target = torch.rand(self.batch, self.dims, generator=rng, device=rng.device) * 2 - 1
        identity = torch.randn(self.batch, self.experts, size, generator=rng, device=rng.device)
        return target, identity, torch.randn(self.batch, self.dims, size, generator=rng, device=rng.device)
