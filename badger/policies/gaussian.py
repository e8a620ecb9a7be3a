"""Gaussian policies for continuous actions: a diagonal normal distribution, clipped to the bounds of the action.

An output holds the means of an action's numbers, then their log standard deviations (`act.Gaussian`). Where both bounds
are finite, the unit is half their range, from its center. Samples beyond a bound are clipped to it, and the probability
of a bound is that of all values beyond it (a censored normal distribution; Fujita and Maeda 2018, arXiv:1802.07564), so
that log-probabilities need only the clipped action.

Shapes: ... any leading axes, D numbers of an action.
"""

from math import e, inf, log, pi
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import Function

from tasks import Continuous


def sample(output: Float[Tensor, "*B _"], space: Continuous, rng: torch.Generator) -> Float[Tensor, "*B D"]:
    """A sampled action, clipped to its bounds.

    Args:
        output: means and log standard deviations.
        space: the action space.
        rng: the generator.
    """
    noise = torch.randn((*output.shape[:-1], space.size), generator=rng, device=output.device, dtype=output.dtype)
    return add_noise(output, noise, space)


def add_noise(output: Float[Tensor, "*B _"], noise: Float[Tensor, "*B D"], space: Continuous) -> Float[Tensor, "*B D"]:
    """The action of given noise, in units of the standard deviation, clipped to its bounds.

    Args:
        output: means and log standard deviations.
        noise: standard normal numbers.
        space: the action space.
    """
    return reparameterized(output, noise, space).detach()


def reparameterized(
    output: Float[Tensor, "*B _"], noise: Float[Tensor, "*B D"], space: Continuous
) -> Float[Tensor, "*B D"]:
    """The action of given noise, with the gradient of means and standard deviations.

    Beyond a bound a gradient passes only if it leads back: else a policy whose actions are all clipped would never
    learn again, or its means would grow without end.

    Args:
        output: means and log standard deviations.
        noise: standard normal numbers.
        space: the action space.

    Source: Kingma and Welling 2014 (arXiv:1312.6114); gradients at bounds as in Hausknecht and Stone 2016
    (arXiv:1511.04143).
    """
    mean, log_std = _mean_and_log_std(output, space)
    center, half_range = center_and_half_range(space)
    numbers = (mean + noise * log_std.exp()) * half_range + center
    return ClipFunction.apply(numbers, space.low, space.high)


class ClipFunction(Function):
    """(x, low, high) -> x clipped to its bounds. The gradient of a loss passes where descent does not lead outwards."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, low: float, high: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.low, ctx.high = low, high
        return x.clamp(low, high)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        outwards = ((x > ctx.high) & (grad < 0)) | ((x < ctx.low) & (grad > 0))
        return torch.where(outwards, 0, grad), None, None


def conditional_output(
    output: Float[Tensor, "*B _"], noise: Float[Tensor, "*B D"], correlation: float, space: Continuous
) -> Float[Tensor, "*B _"]:
    """Means and log standard deviations given the noise of the step before, with which that of this step correlates.

    With e_t = c e_{t-1} + sqrt(1 - c^2) n_t, the mean m + s e_t has the mean m + s c e_{t-1} and the standard deviation
    s sqrt(1 - c^2).

    Args:
        output: means and log standard deviations of uncorrelated noise; further numbers stay as they are.
        noise: e_{t-1}, in units of the standard deviation.
        correlation: c.
        space: the action space.
    """
    mean, log_std = _mean_and_log_std(output, space)
    conditional = mean + correlation * noise * log_std.exp(), log_std + 0.5 * log(1 - correlation**2)
    return torch.cat([*conditional, output[..., 2 * space.size :]], -1)


def mean_action(output: Float[Tensor, "*B _"], space: Continuous) -> Float[Tensor, "*B D"]:
    """The mean action, clipped to its bounds, with the gradient of the output.

    Args:
        output: means and log standard deviations; or means alone, of an agent whose real numbers are not sampled.
        space: the action space.
    """
    alone = output.shape[-1] in (space.size, space.size + 1)  # and at most one value
    return _rescale_and_clip(output[..., : space.size] if alone else _mean_and_log_std(output, space)[0], space)


def mode(output: Float[Tensor, "*B _"], space: Continuous) -> Float[Tensor, "*B D"]:
    """The mean action, clipped to its bounds, without gradient.

    Args:
        output: as for `mean_action`.
        space: the action space.
    """
    return mean_action(output, space).detach()


def log_probability(
    output: Float[Tensor, "*B _"], action: Float[Tensor, "*B D"], space: Continuous
) -> Float[Tensor, "*B"]:
    """Log-likelihood of an action: a density between the bounds, a probability at a bound; summed over D.

    Args:
        output: means and log standard deviations.
        action: the action.
        space: the action space.
    """
    mean, log_std = _mean_and_log_std(output, space)
    center, half_range = center_and_half_range(space)
    z = ((action - center) / half_range - mean) * (-log_std).exp()
    log_prob = -0.5 * z.square() - log_std - 0.5 * log(2 * pi)
    if space.low > -inf:
        log_prob = torch.where(action <= space.low, torch.special.log_ndtr(z), log_prob)
    if space.high < inf:
        log_prob = torch.where(action >= space.high, torch.special.log_ndtr(-z), log_prob)
    return log_prob.sum(-1)


def squared_error(
    output: Float[Tensor, "*B _"], action: Float[Tensor, "*B D"], space: Continuous
) -> Float[Tensor, "*B"]:
    """Squared error of the means before clipping, in the unit of the means; summed over D.

    Args:
        output: means, and possibly more numbers behind them.
        action: what they are to be.
        space: the action space.
    """
    center, half_range = center_and_half_range(space)
    return (output[..., : space.size] - (action - center) / half_range).square().sum(-1)


def entropy(output: Float[Tensor, "*B _"], space: Continuous) -> Float[Tensor, "*B"]:
    """Differential entropy of the normal distribution before clipping, in nats.

    Args:
        output: means and log standard deviations.
        space: the action space.
    """
    return (_mean_and_log_std(output, space)[1] + 0.5 * log(2 * pi * e)).sum(-1)


def simpson(output: Float[Tensor, "*B _"], space: Continuous) -> Float[Tensor, "*B"]:
    """Simpson index before clipping: the density of two equal samples, 1 / (2 std sqrt(pi)), summed over D.

    Args:
        output: means and log standard deviations.
        space: the action space.
    """
    return ((-_mean_and_log_std(output, space)[1]).exp() / (2 * pi**0.5)).sum(-1)


def _mean_and_log_std(output: Tensor, space: Continuous) -> tuple[Tensor, Tensor]:
    size = space.size
    if output.shape[-1] not in (2 * size, 2 * size + 1):
        raise ValueError(
            f"output has {output.shape[-1]} numbers, want {size} means of {space}, {size} log standard deviations, and "
            "at most one value: build the agent with act=act.Gaussian(head), or act.WithCritic(act.Gaussian(head)) for "
            "a learner with a critic"
        )
    return output[..., :size], output[..., size : 2 * size]


def center_and_half_range(space: Continuous) -> tuple[float, float]:
    """The center of the bounds and half their range, the unit of means; 0 and 1 where a bound is infinite.

    Args:
        space: the action space.
    """
    if space.high - space.low == inf:
        return 0.0, 1.0
    return (space.high + space.low) / 2, (space.high - space.low) / 2


def _rescale_and_clip(numbers: Tensor, space: Continuous) -> Tensor:
    center, half_range = center_and_half_range(space)
    return (numbers * half_range + center).clamp(space.low, space.high)
