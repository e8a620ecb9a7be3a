"""Mixture density network: the next latent state as a mixture of normal distributions.

Shapes: ... any leading axes, H input, Z numbers, K components of the mixture of each number.
"""

import math

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import softplus

from experts.random_key import RandomKey

SMALLEST_STD = 1e-3
LOG_SQRT_2_PI = 0.9189385332046727


class MixtureDensity(nn.Module):
    """Independent mixtures of K normal distributions for each of Z numbers, whose parameters are linear in the input.

    Args:
        input_size: H.
        size: Z.
        components: K.

    Source: Bishop 1994, Mixture density networks; Graves 2013 (arXiv:1308.0850) for sequences.
    """

    def __init__(self, input_size: int, size: int, components: int):
        super().__init__()
        self.size, self.components = size, components
        self.linear = nn.Linear(input_size, 3 * size * components)

    def forward(
        self, h: Float[Tensor, "*B H"]
    ) -> tuple[Float[Tensor, "*B Z K"], Float[Tensor, "*B Z K"], Float[Tensor, "*B Z K"]]:
        """Log-weights of the components, their means and their standard deviations.

        Args:
            h: what the mixture depends on.
        """
        logits, mean, raw = self.linear(h).unflatten(-1, (3, self.size, self.components)).unbind(-3)
        return logits.log_softmax(-1), mean, softplus(raw) + SMALLEST_STD

    def log_density(self, h: Float[Tensor, "*B H"], z: Float[Tensor, "*B Z"]) -> Float[Tensor, "*B"]:
        """The log-density of numbers, summed over them.

        Args:
            h: what the mixture depends on.
            z: the numbers.
        """
        log_weight, mean, std = self(h)
        log_density = -0.5 * ((z.unsqueeze(-1) - mean) / std).square() - std.log() - LOG_SQRT_2_PI
        return (log_weight + log_density).logsumexp(-1).sum(-1)

    def sample(self, h: Float[Tensor, "*B H"], key: RandomKey, temperature: float = 1.0) -> Float[Tensor, "*B Z"]:
        """Numbers drawn from the mixture.

        Args:
            h: what it depends on.
            key: of the random numbers.
            temperature: divides the log-weights, and multiplies the variances: above 1 imagination is less certain than
                what it was learned from, and less of it can be exploited.
        """
        log_weight, mean, std = self(h)
        weight = (log_weight / temperature).softmax(-1)
        threshold = key.uniform(weight, self.size, stream=1).unsqueeze(-1)
        chosen = (weight.detach().cumsum(-1) < threshold).sum(-1, keepdim=True).clamp(max=self.components - 1)
        mean, std = (part.gather(-1, chosen).squeeze(-1) for part in (mean, std))
        return mean + math.sqrt(temperature) * std * key.normal(mean, self.size)
