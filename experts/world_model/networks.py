"""Small networks of world models, and the squashing of large numbers.

Shapes: ... any axes.
"""

from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn


def mlp(input_size: int, hidden_size: int, output_size: int, *, layers: int = 1) -> nn.Sequential:
    """A network with some hidden layers of exponential linear units, and a linear output.

    Args:
        input_size: numbers of an input.
        hidden_size: of a hidden layer.
        output_size: numbers of an output.
        layers: hidden ones.
    """
    sizes = [input_size] + [hidden_size] * layers
    hidden = [part for a, b in pairwise(sizes) for part in (nn.Linear(a, b), nn.ELU())]
    return nn.Sequential(*hidden, nn.Linear(sizes[-1], output_size))


def symlog(x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """sign(x) log(1 + |x|): the identity near 0, a logarithm of large numbers.

    Args:
        x: any numbers.

    Source: Hafner et al. 2023 (arXiv:2301.04104), DreamerV3.
    """
    return x.sign() * x.abs().log1p()


def symexp(y: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """The inverse of `symlog`.

    Args:
        y: any numbers.
    """
    return y.sign() * y.abs().expm1()
