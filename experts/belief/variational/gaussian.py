"""Diagonal normal distributions whose parameters a network computes.

Shapes: D numbers, * any leading axes.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import softplus

SMALLEST_STD = 0.01


class Gaussian(nn.Module):
    """A diagonal normal distribution whose mean and standard deviation depend on the input, by one hidden layer.

    Args:
        input_size: of what it depends on.
        hidden_size: of the layer.
        size: of the distribution.
    """

    def __init__(self, input_size: int, hidden_size: int, size: int):
        super().__init__()
        self.hidden, self.out = nn.Linear(input_size, hidden_size), nn.Linear(hidden_size, 2 * size)

    def forward(self, *parts: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation.

        Args:
            parts: of the input, side by side.
        """
        mean, raw = self.out(torch.tanh(self.hidden(torch.cat(parts, -1)))).chunk(2, -1)
        return mean, softplus(raw) + SMALLEST_STD


def gaussian_log_density(
    x: Float[Tensor, "*B D"], mean: Float[Tensor, "*B D"], std: Float[Tensor, "*_ D"]
) -> Float[Tensor, "*B"]:
    """Log-density of a diagonal normal distribution, summed over the last axis.

    Args:
        x: where.
        mean: of the distribution.
        std: standard deviations.
    """
    return (-0.5 * ((x - mean) / std).square() - std.log() - 0.9189385332046727).sum(-1)  # log(2 pi) / 2


def divergence_from_standard_normal(mean: Float[Tensor, "*B D"], std: Float[Tensor, "*B D"]) -> Float[Tensor, "*B"]:
    """KL divergence of a diagonal normal distribution from the standard one, summed over the last axis.

    Args:
        mean: of the distribution.
        std: standard deviations.
    """
    return (0.5 * (mean.square() + std.square() - 1) - std.log()).sum(-1)


def gaussian_divergence(
    mean: Float[Tensor, "*B D"],
    std: Float[Tensor, "*B D"],
    prior_mean: Float[Tensor, "*B D"],
    prior_std: Float[Tensor, "*B D"],
) -> Float[Tensor, "*B"]:
    """KL divergence of a diagonal normal distribution from another one, summed over the last axis.

    Args:
        mean: of the distribution.
        std: standard deviations.
        prior_mean: of the other one.
        prior_std: standard deviations.
    """
    # both are shifted and scaled alike, which does not change the divergence
    return divergence_from_standard_normal((mean - prior_mean) / prior_std, std / prior_std)


def check_predicted(predicted: int | None, input_size: int) -> int:
    """The number of inputs that a model predicts; all for None.

    Args:
        predicted: the first numbers of the input.
        input_size: D.

    Raises:
        ValueError: not 1 to D.
    """
    predicted = input_size if predicted is None else predicted
    if not 1 <= predicted <= input_size:
        raise ValueError(f"predicted={predicted}, want 1 to {input_size}, the core's inputs, or none for all")
    return predicted
