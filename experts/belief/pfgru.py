"""Discriminative particle filter (DPFRL): particles with learned weights, without a model of observations.

Shapes: B episode, N members, K particle, H numbers of a particle, D input.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import softplus

from experts.belief.particle import GatedUpdate, ParticleFilter, ParticleModel
from experts.core import Core, check_positive


class PFGRUModel(ParticleModel):
    """Particle filter GRU (PF-GRU): a particle is the state of a GRU with a noisy candidate, with the weight f(h, x).

    The candidate is tanh(m + s e) with learned m, s and standard normal e. There is no batch normalization, which would
    mix the episodes.

    Args:
        input_size: D.
        particle_size: H.

    Source: Ma et al. 2020, "Particle Filter Recurrent Neural Networks" (arXiv:1905.12885).
    """

    generative = False

    def __init__(self, input_size: int, particle_size: int):
        super().__init__()
        check_positive(hidden_size=particle_size)
        self.input_size, self.particle_size, self.noise_size = input_size, particle_size, particle_size
        self.encoder = nn.Linear(input_size, particle_size)
        self.gated = GatedUpdate(particle_size, particle_size)
        self.mean, self.deviation = (nn.Linear(2 * particle_size, particle_size) for _ in range(2))
        self.likelihood = nn.Linear(2 * particle_size, 1)

    def forward(
        self, particles: Float[Tensor, "B N K H"], x: Float[Tensor, "B N D"], noise: Float[Tensor, "B N K H"]
    ) -> tuple[Float[Tensor, "B N K H"], Float[Tensor, "B N K"]]:
        e = torch.relu(self.encoder(x)).unsqueeze(2).expand_as(particles)
        update, reset = self.gated(particles, e)
        candidate = (
            self.mean(torch.cat([reset, e], -1)) + softplus(self.deviation(torch.cat([particles, e], -1))) * noise
        )
        moved = update * particles + (1 - update) * torch.tanh(candidate)
        return moved, self.likelihood(torch.cat([moved, e], -1)).squeeze(-1)


def dpfrl(
    input_size: int, hidden_size: int = 64, *, particles: int = 16, alpha: float = 0.9, features: int = 32
) -> Core:
    """Discriminative particle filter for reinforcement learning (DPFRL): `ParticleFilter` of a `PFGRUModel`.

    Args:
        input_size: D.
        hidden_size: of the output and of a particle.
        particles: their number.
        alpha: of soft resampling, from 0 to 1.
        features: of a particle, whose weighted means the output depends on.

    Raises:
        ValueError: a size below 1, or an alpha outside 0 to 1.

    Source: Ma et al. 2020 (arXiv:2002.09884).
    """
    model = PFGRUModel(input_size, hidden_size)
    return ParticleFilter(model, hidden_size, particles=particles, alpha=alpha, features=features)
