"""The clipped losses of proximal policy optimization, as pure elementwise functions (Schulman et al. 2017)."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def clipped_policy_loss(
    log_ratio: Float[Tensor, "*B"], advantage: Float[Tensor, "*B"], clip: float
) -> Float[Tensor, "*B"]:
    """The clipped surrogate loss -min(r A, clip(r, 1 - clip, 1 + clip) A), with the probability ratio r.

    Args:
        log_ratio: log r, the log-probability of the action now, minus that under the policy of the rollout.
        advantage: A.
        clip: the distance of r from 1 beyond which a gain has no gradient.

    Source: arXiv:1707.06347, eq. 7.
    """
    ratio = log_ratio.exp()
    return -torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)


def clipped_value_loss(
    value: Float[Tensor, "*B"], old_value: Float[Tensor, "*B"], return_: Float[Tensor, "*B"], clip: float | None
) -> Float[Tensor, "*B"]:
    """The squared error (G - V)^2, or the larger of it and that of V clipped to `old_value` +- `clip`.

    Args:
        value: V, the prediction now.
        old_value: the prediction during the rollout.
        return_: G.
        clip: the largest change of V; None: no clipping.
    """
    unclipped = (return_ - value).square()
    if clip is None:
        return unclipped
    clipped = old_value + (value - old_value).clamp(-clip, clip)
    return torch.maximum(unclipped, (return_ - clipped).square())


def approx_kl(log_ratio: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
    """The estimator r - 1 - log r >= 0, whose mean over actions of the old policy is KL(old, new).

    Args:
        log_ratio: log r, new minus old log-probability.

    Source: Schulman 2020, "Approximating KL Divergence", k3.
    """
    return log_ratio.expm1() - log_ratio


def is_clipped(log_ratio: Float[Tensor, "*B"], clip: float) -> Bool[Tensor, "*B"]:
    """Whether the probability ratio differs from 1 by more than `clip`.

    Args:
        log_ratio: log r, new minus old log-probability.
        clip: the clip range.
    """
    return (log_ratio.expm1()).abs() > clip
