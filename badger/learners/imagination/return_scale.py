"""The spread of returns, by which a policy's gradient is divided."""

import torch
from jaxtyping import Float
from torch import Tensor

from badger import distributed


class ReturnScale:
    """A moving average of the range from the 5th to the 95th percentile of returns; at least 1.

    Large returns are scaled down, so that one weight of the entropy suits all tasks; small ones are not scaled up,
    which would amplify noise where rewards are rare.

    Args:
        like: gives dtype and device.
        decay: of the moving average; 1: the scale is always 1.

    Source: Hafner et al. 2023 (arXiv:2301.04104), DreamerV3.
    """

    def __init__(self, like: Tensor, decay: float):
        self.decay, self.total, self.weight = decay, like.new_zeros(()), like.new_zeros(())

    def update(self, returns: Float[Tensor, "..."]) -> None:
        """Moves the average.

        Args:
            returns: any number of them.
        """
        values = returns.detach().flatten().sort().values
        last = len(values) - 1
        spread = [values[round(0.95 * last)] - values[round(0.05 * last)]]
        distributed.all_reduce_mean_(spread)
        self.total = self.decay * self.total + (1 - self.decay) * spread[0]
        self.weight = self.decay * self.weight + (1 - self.decay)

    @property
    def value(self) -> Float[Tensor, ""]:
        """What returns are divided by."""
        return torch.where(self.weight > 0, self.total / self.weight.clamp(min=1e-6), 1).clamp(min=1)

    def state_dict(self) -> dict[str, Tensor]:
        """The sums of the moving average."""
        return {"total": self.total, "weight": self.weight}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restores them.

        Args:
            state: from `state_dict`.
        """
        self.total, self.weight = state["total"], state["weight"]
