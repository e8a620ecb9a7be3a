"""A particle filter as a recurrent core: the belief is a set of weighted particles, moved by a model that is learned.

Shapes: B episode, N members, K particle, H numbers of a particle, Z random numbers of a step, F features, D input,
Y output.
"""

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from experts import state as states
from experts.belief.resampling import soft_resample
from experts.core import Core, check_positive, mean_of_present
from experts.random_key import RandomKey, initial_key


class ParticleModel(nn.Module, ABC):
    """A model of how particles move and of how likely they make the input.

    A subclass sets the sizes and implements `forward`.
    """

    input_size: int
    particle_size: int  # H
    noise_size: int  # Z
    generative: bool  # weights are likelihoods, so that their mean is the evidence of the input

    @abstractmethod
    def forward(
        self, particles: Float[Tensor, "B N K H"], x: Float[Tensor, "B N D"], noise: Float[Tensor, "B N K Z"]
    ) -> tuple[Float[Tensor, "B N K H"], Float[Tensor, "B N K"]]:
        """The particles after a step, and the logarithms of the factors by which their weights change.

        Args:
            particles: before the step; zeros before the first one.
            x: the input.
            noise: standard normal.
        """


class ParticleState(NamedTuple):
    """The belief after a step.

    Args:
        particles: zeros before the first step.
        log_weights: normalized.
        y: last output.
        evidence: estimated log-likelihood of the last input given those before; 0 of absent members.
        present: members that took part in the last step.
        key: of random numbers.
    """

    particles: Float[Tensor, "B N K H"]
    log_weights: Float[Tensor, "B N K"]
    y: Float[Tensor, "B N Y"]
    evidence: Float[Tensor, "B N"]
    present: Bool[Tensor, "B N"]
    key: RandomKey


class ParticleFilter(Core):
    """Particle filter with a learned model: y = tanh(W [mean particle, weighted means of features]).

    In each step the particles are resampled, moved and weighted by the model. A feature is relu(v . h) of a particle h,
    so that the output depends on more of the belief than its mean. Random numbers follow from the key in the state.

    A generative model adds the loss "negative_elbo", minus the log of the mean weight of the particles: on average a
    bound of the log-likelihood, which is tighter with more particles. Members have separate beliefs.

    Args:
        model: the model, with its input size.
        hidden_size: Y.
        particles: K.
        alpha: of soft resampling, from 0 to 1; 1: plain resampling, without a gradient through the weights.
        features: F.

    Raises:
        ValueError: a size below 1, or an alpha outside 0 to 1.

    Source: Ma et al. 2020 (arXiv:2002.09884), where features are exp(v . h); bounds: Le et al. 2018 (arXiv:1705.10306).
    """

    def __init__(
        self, model: ParticleModel, hidden_size: int, *, particles: int = 16, alpha: float = 1.0, features: int = 32
    ):
        super().__init__()
        check_positive(hidden_size=hidden_size, particles=particles, features=features)
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha={alpha}, want 0 to 1: the part of the weights in the probability of resampling")
        self.input_size, self.output_size = model.input_size, hidden_size
        self.model, self.num_particles, self.alpha = model, particles, alpha
        self.loss_weights = {"negative_elbo": 0.1} if model.generative else {}
        self.feature = nn.Linear(model.particle_size, features)
        self.out = nn.Linear(model.particle_size + features, hidden_size)

    def initial_state(self, x: Float[Tensor, "B N D"]) -> ParticleState:
        k, lead = self.num_particles, x.shape[:2]
        return ParticleState(
            x.new_zeros(*lead, k, self.model.particle_size),
            x.new_full((*lead, k), 1 / k).log(),
            x.new_zeros(*lead, self.output_size),
            x.new_zeros(lead),
            x.new_zeros(lead, dtype=torch.bool),
            initial_key(x),
        )

    def forward(
        self, x: Float[Tensor, "B N D"], state: ParticleState, present: Bool[Tensor, "B N"] | None = None
    ) -> tuple[Float[Tensor, "B N Y"], ParticleState]:
        uniform, noise = state.key.uniform(x, 1), self._noise(x, state.key)
        index, log_weights = soft_resample(state.log_weights, uniform, self.alpha)
        ancestors = state.particles.gather(2, index.unsqueeze(-1).expand_as(state.particles))
        particles, factors = self.model(ancestors, x, noise)
        joint = log_weights + factors
        evidence = joint.logsumexp(-1)
        log_weights = joint - evidence.unsqueeze(-1)
        y = self._read(particles, log_weights)
        new = ParticleState(particles, log_weights, y, evidence, torch.ones_like(state.present), state.key.next())
        if present is not None:
            absent = state._replace(evidence=torch.zeros_like(evidence), present=torch.zeros_like(present))
            new = states.where(present, new, absent)
        return new.y, new

    def _noise(self, x: Tensor, key: RandomKey) -> Float[Tensor, "B N K Z"]:
        return key.normal(x, self.num_particles, self.model.noise_size, stream=1)

    def _read(self, particles: Float[Tensor, "B N K H"], log_weights: Float[Tensor, "B N K"]) -> Float[Tensor, "B N Y"]:
        weights = log_weights.exp().unsqueeze(-1)
        both = torch.cat([particles, torch.relu(self.feature(particles))], -1)
        return torch.tanh(self.out((weights * both).sum(-2)))

    def losses(self, state: ParticleState) -> dict[str, Float[Tensor, " B"]]:
        return {"negative_elbo": -mean_of_present(state.evidence, state.present)} if self.model.generative else {}

    def metrics(self, state: ParticleState) -> dict[str, Float[Tensor, " B"]]:
        """The effective number of particles, 1 / sum w^2: so many with equal weights would be as good."""
        return {"effective_particles": (-(2 * state.log_weights).logsumexp(-1)).exp().mean(-1)}


class GatedUpdate(nn.Module):
    """The gates of a GRU around a candidate that is computed elsewhere: h' = z h + (1 - z) n(r h).

    Args:
        size: H, of a particle.
        input_size: of what the gates read besides the particle.
    """

    def __init__(self, size: int, input_size: int):
        super().__init__()
        self.gates = nn.Linear(size + input_size, 2 * size)

    def forward(self, h: Float[Tensor, "*B H"], e: Float[Tensor, "*B E"]) -> tuple[Tensor, Tensor]:
        """Update gate z and reset particle r h.

        Args:
            h: particles.
            e: what the gates read besides.
        """
        update, reset = self.gates(torch.cat([h, e], -1)).sigmoid().chunk(2, -1)
        return update, reset * h
