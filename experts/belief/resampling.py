"""Resampling of weighted particles, with a gradient through the weights where it is soft.

Shapes: K particle.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def systematic_indices(weights: Float[Tensor, "*B K"], uniform: Float[Tensor, "*B 1"]) -> Int[Tensor, "*B K"]:
    """Systematic resampling: particle k is chosen floor(K w_k) or one more time, K w_k times on average.

    Args:
        weights: normalized; without a gradient.
        uniform: one uniform number, above 0 and below 1.

    Source: Kitagawa 1996; Douc, Cappé and Moulines 2005.
    """
    count = weights.shape[-1]
    position = (torch.arange(count, device=weights.device) + uniform) / count
    index = (position.unsqueeze(-1) >= weights.cumsum(-1).unsqueeze(-2)).sum(-1)
    return index.clamp(max=count - 1)  # the sum of the weights may be rounded to less than 1


def soft_resample(
    log_weights: Float[Tensor, "*B K"], uniform: Float[Tensor, "*B 1"], alpha: float
) -> tuple[Int[Tensor, "*B K"], Float[Tensor, "*B K"]]:
    """Soft resampling: particles are chosen by q = alpha w + (1 - alpha) / K, and weighted by w / q / K.

    Weighted means are unbiased for each alpha, and the new weights have a gradient where alpha is below 1. With 1 it is
    plain resampling to equal weights, with 0 none but for repeated particles.

    Args:
        log_weights: normalized.
        uniform: one uniform number, above 0 and below 1.
        alpha: from 0 to 1.

    Returns:
        The chosen particles, and the logarithms of their weights, whose sum is 1 on average only.

    Source: Karkus, Hsu and Lee 2018 (arXiv:1805.08975); Ma et al. 2020 (arXiv:1905.12885).
    """
    count, weights = log_weights.shape[-1], log_weights.exp()
    mixed = alpha * weights + (1 - alpha) / count
    index = systematic_indices(mixed.detach(), uniform)
    chosen = alpha * weights.gather(-1, index) + (1 - alpha) / count
    # only of chosen ones, as the logarithm of a weight of 0 has no gradient
    log_chosen = (count * chosen).clamp(min=torch.finfo(chosen.dtype).tiny).log()
    return index, log_weights.gather(-1, index) - log_chosen
