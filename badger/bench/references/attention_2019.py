"""Reference of a whole agent: the attention agent of Rosa et al. 2019 (arXiv:1912.01513), from its description.

Known: experts of gated linear layers with a hidden state of 64; attention with 4 query heads; a readout in which each
output is an attention query, a learned vector of 16 with a random address of 16; a random identity of 16 an expert;
80,977 parameters; Adam; 100 episodes a step; the loss is the error of the last guess. Assumptions where the
description has gaps, chosen to give nearly that number (80,817, 0.2 % fewer): heads share keys and values as wide as
the hidden state; two gated linear layers and a linear one before the readout, all of that width; the hidden state
starts from the identity. The original is reported to need 1.0 GB and 8.4 CPU-seconds; the descriptions
do not explain why.

Shapes: B episode, N expert, H query head, K key, V value, D dimension of a guess.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import glu

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
"""An implementation of attention: (query, key, value) -> inbox."""


def broadcast_multiply(
    query: Float[Tensor, "B N H K"], key: Float[Tensor, "B N K"], value: Float[Tensor, "B N V"]
) -> Float[Tensor, "B N HV"]:
    """Attention of all to all by broadcast multiplication and a sum, as the original does.

    Args:
        query: for each head.
        key: shared by the heads.
        value: shared by the heads.
    """
    products = query.unsqueeze(2) * key[:, None, :, None]  # (B, N, N, H, K)
    weights = (products.sum(-1) * key.shape[-1] ** -0.5).softmax(2)  # (B, N, N, H)
    return (weights.unsqueeze(-1) * value[:, None, :, None]).sum(2).flatten(2)


def matrix_products(
    query: Float[Tensor, "B N H K"], key: Float[Tensor, "B N K"], value: Float[Tensor, "B N V"]
) -> Float[Tensor, "B N HV"]:
    """The same attention by two matrix products.

    Args:
        query: for each head.
        key: shared by the heads.
        value: shared by the heads.
    """
    scores = query.flatten(1, 2) @ key.mT * key.shape[-1] ** -0.5  # (B, N H, N)
    return (scores.softmax(-1) @ value).view(*query.shape[:2], -1)


class AttentionAgent(nn.Module):
    """The agent together with the guessing game, unrolled over whole episodes.

    Args:
        attend: implementation of attention.
        hidden_size: K = V = hidden state.
        heads: H.
        identity_size: I.
    """

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
        """Returns the error of the last guess.

        Args:
            target: hidden vector of each episode.
            identity: random vector of each expert.
            address: random vector of each output.
            steps: number of guesses.
        """
        batch, experts, _ = identity.shape
        padding = identity.new_zeros(batch, experts, self.hidden_size - self.identity_size)
        hidden = torch.cat([identity, padding], -1)
        inbox = identity.new_zeros(batch, experts, self.heads * self.hidden_size)
        output_query = torch.cat([self.stub.expand_as(address), address], -1)  # (B, D, 2 I)
        guess = torch.zeros_like(target)
        for _ in range(steps):
            feedback = self._error(guess, target)[:, None, None].expand(-1, experts, 1)
            hidden = glu(self.second(glu(self.first(torch.cat([hidden, inbox, feedback], -1)))))
            query = self.query(hidden).unflatten(-1, (self.heads, -1))
            inbox = self.attend(query, self.key(hidden), self.value(hidden))
            guess = self._guess(self.out(hidden).tanh(), output_query)
        return self._error(guess, target)

    def _guess(self, features: Tensor, output_query: Tensor) -> Tensor:
        scores = output_query @ self.out_key(features).mT * output_query.shape[-1] ** -0.5  # (B, D, N)
        return (scores.softmax(-1) @ self.out_value(features)).squeeze(-1)

    def _error(self, guess: Tensor, target: Tensor) -> Tensor:
        return 3 * (guess - target).square().mean(-1)


class Training:
    """Training of the agent: each update samples new episodes and makes one step of Adam.

    Args:
        agent: the agent.
        batch: B.
        experts: N.
        dims: D.
        steps: guesses in an episode.
        rng: samples targets, identities and addresses.
    """

    def __init__(self, agent: AttentionAgent, *, batch: int, experts: int, dims: int, steps: int, rng: torch.Generator):
        self.agent, self.batch, self.experts, self.dims, self.steps, self.rng = agent, batch, experts, dims, steps, rng
        self.optimizer = torch.optim.Adam(agent.parameters(), lr=1e-3)

    def update(self) -> Tensor:
        """Runs one outer step: forward, backward, Adam; returns the mean loss."""
        target, identity, address = self._sample_episodes()
        self.optimizer.zero_grad()
        loss = self.agent(target, identity, address, self.steps).mean()
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def _sample_episodes(self) -> tuple[Tensor, Tensor, Tensor]:
        rng, size = self.rng, self.agent.identity_size
        target = torch.rand(self.batch, self.dims, generator=rng, device=rng.device) * 2 - 1
        identity = torch.randn(self.batch, self.experts, size, generator=rng, device=rng.device)
        return target, identity, torch.randn(self.batch, self.dims, size, generator=rng, device=rng.device)
