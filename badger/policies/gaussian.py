"""Real numbers as actions: drawn from a normal distribution, and cut to their bounds.

An output holds the means of an action's numbers, then the logarithms of their standard deviations (`act.Gaussian`), in
halves of the range between the bounds and from its middle, where both are finite. What is drawn beyond a bound is the
bound, and as likely as all that lies beyond (a censored normal; Fujita and Maeda 2018, arXiv:1802.07564), so that an
action is all that need be known of it.

Shapes: ... any leading axes, D numbers of an action.
"""

from math import e, inf, log, pi

import torch
from jaxtyping import Float
from torch import Tensor

from tasks import Continuous


def sample(output: Float[Tensor, "*B _"], action: Continuous, rng: torch.Generator) -> Float[Tensor, "*B D"]:
    mean, log_std = _mean_and_log_std(output, action)
    noise = torch.randn(mean.shape, generator=rng, device=mean.device, dtype=mean.dtype)
    return _rescale_and_clip(mean + noise * log_std.exp(), action)


def mode(output: Float[Tensor, "*B _"], action: Continuous) -> Float[Tensor, "*B D"]:
    """The mean, or the bound that it is beyond."""
    return _rescale_and_clip(_mean_and_log_std(output, action)[0], action)


def log_probability(
    output: Float[Tensor, "*B _"], chosen: Float[Tensor, "*B D"], action: Continuous
) -> Float[Tensor, "*B"]:
    """Of what was chosen: a density between the bounds, a probability at them."""
    mean, log_std = _mean_and_log_std(output, action)
    middle, half = _center_and_half_range(action)
    z = ((chosen - middle) / half - mean) * (-log_std).exp()
    log_prob = -0.5 * z.square() - log_std - 0.5 * log(2 * pi)
    if action.low > -inf:
        log_prob = torch.where(chosen <= action.low, torch.special.log_ndtr(z), log_prob)
    if action.high < inf:
        log_prob = torch.where(chosen >= action.high, torch.special.log_ndtr(-z), log_prob)
    return log_prob.sum(-1)


def entropy(output: Float[Tensor, "*B _"], action: Continuous) -> Float[Tensor, "*B"]:
    """In nats, of what is drawn before it is cut."""
    return (_mean_and_log_std(output, action)[1] + 0.5 * log(2 * pi * e)).sum(-1)


def simpson(output: Float[Tensor, "*B _"], action: Continuous) -> Float[Tensor, "*B"]:
    """The density with which two draws agree, before they are cut: 1 / (2 std sqrt(pi)), summed over the numbers."""
    return ((-_mean_and_log_std(output, action)[1]).exp() / (2 * pi**0.5)).sum(-1)


def _mean_and_log_std(output: Tensor, action: Continuous) -> tuple[Tensor, Tensor]:
    """Means, and logarithms of standard deviations."""
    size = action.size
    if output.shape[-1] not in (2 * size, 2 * size + 1):
        raise ValueError(
            f"an output of {output.shape[-1]} numbers, want the {size} means of {action}, as many logarithms of "
            "standard deviations, and one more where there is a value; act by act.Gaussian(port), in act.Valued for "
            "those who learn by reward"
        )
    return output[..., :size], output[..., size : 2 * size]


def _center_and_half_range(action: Continuous) -> tuple[float, float]:
    """The middle between the bounds and half of what lies between them; 0 and 1 where it has no end."""
    if action.high - action.low == inf:
        return 0.0, 1.0
    return (action.high + action.low) / 2, (action.high - action.low) / 2


def _rescale_and_clip(numbers: Tensor, action: Continuous) -> Tensor:
    middle, half = _center_and_half_range(action)
    return (numbers * half + middle).clamp(action.low, action.high).detach()
