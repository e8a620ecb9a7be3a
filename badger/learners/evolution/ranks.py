"""Ranks of returns, which an evolution strategy takes in place of the returns."""

import torch
from jaxtyping import Float
from torch import Tensor


def centered_ranks(values: Float[Tensor, " P"]) -> Float[Tensor, " P"]:
    """Ranks from -1/2 for the lowest to 1/2 for the highest; equal values have their mean rank, and NaN is lowest.

    Args:
        values: at least two.

    Source: Salimans et al. 2017, arXiv:1703.03864, section 2.1.
    """
    ordered = values.nan_to_num(-torch.inf, torch.inf, -torch.inf)
    below, equal = ((ordered.unsqueeze(1) > ordered).sum(1), (ordered.unsqueeze(1) == ordered).sum(1) - 1)
    return (2 * below + equal).to(values.dtype) / (2 * (len(values) - 1)) - 0.5
