"""Latent states of a world model: how they are drawn, and how far two distributions of them are apart.

Shapes: ... any leading axes, P parameters of a distribution, Z numbers of a latent state, G choices, C options of one.
"""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import one_hot, softplus

from experts.random_key import RandomKey


class Latent(ABC):
    """A family of distributions. A subclass sets `parameters` (P) and `size` (Z)."""

    parameters: int
    size: int

    @abstractmethod
    def sample(self, parameters: Float[Tensor, "*B P"], key: RandomKey) -> Float[Tensor, "*B Z"]:
        """A latent state, with the gradient of the parameters.

        Args:
            parameters: of the distribution, numbers of any size.
            key: of the random numbers.
        """

    @abstractmethod
    def divergence(self, p: Float[Tensor, "*B P"], q: Float[Tensor, "*B P"]) -> Float[Tensor, "*B"]:
        """KL(p || q) in nats.

        Args:
            p: parameters of a distribution.
            q: those of another one.
        """


class Normal(Latent):
    """Independent normal numbers; the parameters are means and, through softplus, standard deviations.

    Args:
        size: Z.
        smallest_std: to which the softplus is added.

    Source: Hafner et al. 2019 (arXiv:1811.04551), PlaNet.
    """

    def __init__(self, size: int, smallest_std: float = 0.1):
        self.size, self.parameters, self.smallest_std = size, 2 * size, smallest_std

    def sample(self, parameters: Float[Tensor, "*B P"], key: RandomKey) -> Float[Tensor, "*B Z"]:
        mean, std = self.moments(parameters)
        return mean + std * key.normal(mean, self.size)

    def divergence(self, p: Float[Tensor, "*B P"], q: Float[Tensor, "*B P"]) -> Float[Tensor, "*B"]:
        (mean, std), (other, other_std) = self.moments(p), self.moments(q)
        ratio = std / other_std
        return (0.5 * (ratio.square() + ((mean - other) / other_std).square() - 1) - ratio.log()).sum(-1)

    def moments(self, parameters: Float[Tensor, "*B P"]) -> tuple[Float[Tensor, "*B Z"], Float[Tensor, "*B Z"]]:
        """Mean and standard deviation.

        Args:
            parameters: of the distribution.
        """
        mean, raw = parameters.chunk(2, -1)
        return mean, softplus(raw) + self.smallest_std


class Categorical(Latent):
    """Independent choices, one-hot, with the straight-through gradient of their probabilities.

    The parameters are logits. A small part of each distribution is uniform, so that divergences are finite.

    Args:
        choices: G.
        classes: C.
        uniform: the uniform part.

    Source: Hafner et al. 2021 (arXiv:2010.02193), DreamerV2; the uniform part: 2023 (arXiv:2301.04104), DreamerV3.
    """

    def __init__(self, choices: int, classes: int, uniform: float):
        self.choices, self.classes, self.uniform = choices, classes, uniform
        self.size = self.parameters = choices * classes

    def sample(self, parameters: Float[Tensor, "*B P"], key: RandomKey) -> Float[Tensor, "*B Z"]:
        probs = self._probabilities(parameters)
        threshold = key.uniform(probs, self.choices).unsqueeze(-1)
        option = (probs.detach().cumsum(-1) < threshold).sum(-1).clamp(max=self.classes - 1)  # the sum may be below 1
        drawn = one_hot(option, self.classes).to(probs) + (probs - probs.detach())
        return drawn.flatten(-2)

    def divergence(self, p: Float[Tensor, "*B P"], q: Float[Tensor, "*B P"]) -> Float[Tensor, "*B"]:
        first, second = self._probabilities(p), self._probabilities(q)
        return (first * (first.log() - second.log())).sum((-2, -1))

    def _probabilities(self, logits: Tensor) -> Float[Tensor, "*B G C"]:
        probs = torch.softmax(logits.unflatten(-1, (self.choices, self.classes)), -1)
        return (1 - self.uniform) * probs + self.uniform / self.classes
