"""Perturbations of parameters: dense noise, or a product of two narrow matrices that is never computed.

Shapes: K pairs of perturbations, M members, R rank; a parameter is (m, n), or of any shape where noise is dense.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


class Dense(NamedTuple):
    """Independent normal noise for each number of a parameter.

    Args:
        noise: of unit variance.
    """

    noise: Float[Tensor, "K *shape"]

    def plus(self, other: "Dense") -> "Dense":
        """The sum of two perturbations.

        Args:
            other: of the same parameter.
        """
        return Dense(self.noise + other.noise)

    def weighted_sum(self, weight: Float[Tensor, " K"]) -> Float[Tensor, "*shape"]:
        """The sum of the perturbations, each times its weight.

        Args:
            weight: of each.
        """
        return torch.tensordot(weight, self.noise, 1)

    def scaled(self, pair: Int[Tensor, " M"], scale: Float[Tensor, " M"]) -> "Dense":
        """The perturbation of each member.

        Args:
            pair: the index of its perturbation.
            scale: by which it is multiplied.
        """
        return Dense(self.noise[pair] * scale.view(-1, *[1] * (self.noise.dim() - 1)))


class LowRank(NamedTuple):
    """Noise of a matrix (m, n) that is the product left @ right.T of normal factors (Sarkar et al. 2025).

    Its entries have unit variance and are uncorrelated, as those of dense noise. It takes (m + n) R numbers, not m n. A
    weighted sum of many has full rank.

    Args:
        left: divided by the square root of R.
        right: the other factor.
    """

    left: Float[Tensor, "K m R"]
    right: Float[Tensor, "K n R"]

    def plus(self, other: "LowRank") -> "LowRank":
        """The sum of two perturbations, whose rank is the sum of theirs.

        Args:
            other: of the same parameter.
        """
        return LowRank(torch.cat([self.left, other.left], -1), torch.cat([self.right, other.right], -1))

    def weighted_sum(self, weight: Float[Tensor, " K"]) -> Float[Tensor, "m n"]:
        """The sum of the perturbations, each times its weight.

        Args:
            weight: of each.
        """
        left = self.left * weight.view(-1, 1, 1)
        return left.transpose(0, 1).flatten(1) @ self.right.transpose(1, 2).flatten(0, 1)

    def scaled(self, pair: Int[Tensor, " M"], scale: Float[Tensor, " M"]) -> "LowRank":
        """The perturbation of each member.

        Args:
            pair: the index of its perturbation.
            scale: by which it is multiplied.
        """
        return LowRank(self.left[pair] * scale.view(-1, 1, 1), self.right[pair])


Perturbations = Sequence[Dense | LowRank]
"""Those of each parameter."""


def sample_perturbations(
    parameters: Iterable[nn.Parameter], pairs: int, rank: int | None, rng: torch.Generator
) -> Perturbations:
    """Perturbations of each parameter, of low rank where a matrix has more numbers than its factors.

    Args:
        parameters: of the agent.
        pairs: K.
        rank: R; None: dense noise for all parameters.
        rng: the generator, on their device.
    """

    def draw(like: nn.Parameter, *shape: int) -> Tensor:
        return torch.randn((pairs, *shape), generator=rng, dtype=like.dtype, device=like.device)

    def perturb(one: nn.Parameter) -> Dense | LowRank:
        if rank is None or one.dim() != 2 or rank * sum(one.shape) >= one.numel():
            return Dense(draw(one, *one.shape))
        rows, columns = one.shape
        return LowRank(draw(one, rows, rank) * rank**-0.5, draw(one, columns, rank))

    return [perturb(one) for one in parameters]


def add_perturbations(first: Perturbations | None, second: Perturbations) -> Perturbations:
    """The sum of the perturbations of each parameter.

    Args:
        first: None: no perturbation.
        second: of the same parameters.
    """
    return second if first is None else [a.plus(b) for a, b in zip(first, second, strict=True)]  # type: ignore[arg-type]
