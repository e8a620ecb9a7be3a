"""Deep variational reinforcement learning (DVRL): particles of a latent-variable model of the observations.

Shapes: B episode, N members, K particle, H numbers of a particle, Z of a latent, O numbers that are predicted, D input.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from experts.belief.particle import GatedUpdate, ParticleFilter, ParticleModel
from experts.belief.variational.gaussian import Gaussian, check_predicted, gaussian_log_density
from experts.core import Core, check_positive


class VariationalModel(ParticleModel):
    """A variational recurrent model with particles: z ~ q(z | h, x), w = p(z | h, c) p(o | z, h, c) / q(z | h, x).

    The input x is [o, c]: o is predicted, and c, such as the last action, is a condition. The next particle is a GRU's
    step h' = GRU(h, [z, x]). All distributions are normal.

    Args:
        input_size: D.
        particle_size: H, also of the hidden layers.
        latent_size: Z.
        predicted: O, the first numbers of the input; None: all.

    Raises:
        ValueError: a size out of range.

    Source: Igl et al. 2018 (arXiv:1806.02426).
    """

    generative = True

    def __init__(self, input_size: int, particle_size: int, *, latent_size: int, predicted: int | None):
        super().__init__()
        check_positive(hidden_size=particle_size, latent_size=latent_size)
        predicted = check_predicted(predicted, input_size)
        h, condition = particle_size, input_size - predicted
        self.input_size, self.particle_size, self.noise_size, self.predicted = input_size, h, latent_size, predicted
        self.encoder = nn.Linear(input_size, h)
        self.prior = Gaussian(h + condition, h, latent_size)
        self.proposal = Gaussian(2 * h, h, latent_size)
        self.decoder = Gaussian(latent_size + h + condition, h, predicted)
        self.gated = GatedUpdate(h, h + latent_size)
        self.candidate = nn.Linear(2 * h + latent_size, h)

    def forward(
        self, particles: Float[Tensor, "B N K H"], x: Float[Tensor, "B N D"], noise: Float[Tensor, "B N K Z"]
    ) -> tuple[Float[Tensor, "B N K H"], Float[Tensor, "B N K"]]:
        k = particles.shape[2]
        e, inputs = (part.unsqueeze(2).expand(-1, -1, k, -1) for part in (torch.tanh(self.encoder(x)), x))
        target, condition = inputs[..., : self.predicted], inputs[..., self.predicted :]
        mean, std = self.proposal(particles, e)
        z = mean + std * noise
        factors = (
            gaussian_log_density(z, *self.prior(particles, condition))
            + gaussian_log_density(target, *self.decoder(z, particles, condition))
            - gaussian_log_density(z, mean, std)
        )
        update, reset = self.gated(particles, torch.cat([e, z], -1))
        candidate = torch.tanh(self.candidate(torch.cat([reset, e, z], -1)))
        return update * particles + (1 - update) * candidate, factors


def dvrl(
    input_size: int,
    hidden_size: int = 64,
    *,
    particles: int = 16,
    latent_size: int = 16,
    predicted: int | None = None,
    features: int = 32,
) -> Core:
    """Deep variational reinforcement learning (DVRL): a `ParticleFilter` of a `VariationalModel`.

    The bound of the log-likelihood is its auxiliary loss.

    Args:
        input_size: D.
        hidden_size: of the output and of a particle.
        particles: their number.
        latent_size: of the random part of a particle.
        predicted: the first numbers of the input are predicted, the others, such as the last action, are conditions;
            default: all are predicted.
        features: of a particle, whose weighted means the output depends on.

    Raises:
        ValueError: a size out of range.

    Source: Igl et al. 2018 (arXiv:1806.02426), where a GRU reads the particles one after the other.
    """
    model = VariationalModel(input_size, hidden_size, latent_size=latent_size, predicted=predicted)
    return ParticleFilter(model, hidden_size, particles=particles, features=features)
