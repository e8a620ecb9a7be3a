"""Numbers as distributions over fixed bins: a regression that cannot leave the range of its targets.

Shapes: ... any axes, K bins.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import log_softmax

from experts.world_model.networks import symexp

LIMIT = 20.0  # of the symlog of a number: 5e8


class TwoHot:
    """Discrete regression: a target is a mean of its two neighboring bins, and a prediction the mean over all bins.

    Bins lie evenly in the symlog, so that numbers of any size can be learned by the same loss, the cross-entropy, whose
    gradient does not depend on the size of the target. The mean cannot exceed the bins that have been seen. A network
    that predicts the number itself extrapolates to states without data, and a policy seeks out what is predicted too
    high.

    Args:
        bins: K, an odd number, so that one bin is 0.
        like: gives dtype and device.

    Raises:
        ValueError: fewer than 3 bins, or an even number.

    Source: Hafner et al. 2023 (arXiv:2301.04104), DreamerV3, "symexp twohot".
    """

    def __init__(self, bins: int, like: Tensor):
        if bins < 3 or bins % 2 == 0:
            raise ValueError(f"bins={bins}, want an odd number, 3 or more: one of the bins is 0")
        self.bins: Float[Tensor, " K"] = symexp(torch.linspace(-LIMIT, LIMIT, bins, dtype=like.dtype)).to(like.device)

    def loss(self, logits: Float[Tensor, "*B K"], target: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
        """The cross-entropy of a target's two bins; a target beyond all bins counts as the outermost one.

        Args:
            logits: of the prediction.
            target: numbers.
        """
        last = len(self.bins) - 1
        target = target.clamp(self.bins[0], self.bins[-1]).contiguous()
        upper = torch.searchsorted(self.bins, target, right=False).clamp(1, last)
        low, high = self.bins[upper - 1], self.bins[upper]
        share = ((target - low) / (high - low)).unsqueeze(-1)
        log_p = log_softmax(logits, -1)
        below, above = log_p.gather(-1, upper.unsqueeze(-1) - 1), log_p.gather(-1, upper.unsqueeze(-1))
        return -((1 - share) * below + share * above).squeeze(-1)

    def mean(self, logits: Float[Tensor, "*B K"]) -> Float[Tensor, "*B"]:
        """The predicted number, with a gradient.

        Args:
            logits: of the prediction.
        """
        half = len(self.bins) // 2  # the two halves first: equal weights of a bin and its negative give exactly 0
        p = logits.softmax(-1)
        return ((p[..., half + 1 :] - p[..., :half].flip(-1)) * self.bins[half + 1 :]).sum(-1)
