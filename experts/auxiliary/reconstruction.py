"""Reconstruction of the present input from the output, as an auxiliary loss (Fortunato et al. 2019, MRA)."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from experts.auxiliary.wrapper import AuxiliaryLoss
from experts.core import Core, mean_of_present
from experts.state import State


class ReconstructionState(NamedTuple):
    """State of a `Reconstruction` core.

    Args:
        core: state of the wrapped core.
        y: last output.
        x: last target.
        present: members that took part in the last step.
    """

    core: State
    y: Float[Tensor, "B N Y"]
    x: Float[Tensor, "B N D"]
    present: Bool[Tensor, "B N"]


class Reconstruction(AuxiliaryLoss):
    """Core with the auxiliary loss "reconstruction": the mean squared error of x_t as a linear map of y_t.

    The input of the decoder is the output y_t, which depends on x_t and on the read vector (Fortunato et al. 2019, sec.
    2.1), and not the read vector alone: rows are from the past and do not hold x_t, and a loss on them would only
    reward reads of similar inputs, which an untrained memory already makes.

    The target x is detached, so messages get no gradient from this loss.

    Args:
        core: the wrapped core; its outputs are unchanged.
        target_size: only the first `target_size` numbers of x are reconstructed; None: all. In an agent x is [obs,
            inbox, identity].

    Raises:
        ValueError: target_size is out of range.
    """

    def __init__(self, core: Core, *, target_size: int | None = None):
        super().__init__(core, target_size=target_size)
        self.loss_weights = {"reconstruction": 0.1}
        self.decoder = nn.Linear(core.output_size, self.target_size)

    def initial_state(self, x: Float[Tensor, "B N D"]) -> ReconstructionState:
        return ReconstructionState(
            self.core.initial_state(x),
            x.new_zeros(*x.shape[:2], self.output_size),
            x.new_zeros(*x.shape[:2], self.target_size),
            x.new_zeros(x.shape[:2], dtype=torch.bool),
        )

    def forward(
        self, x: Float[Tensor, "B N D"], state: ReconstructionState, present: Bool[Tensor, "B N"] | None = None
    ) -> tuple[Float[Tensor, "B N Y"], ReconstructionState]:
        y, core = self.core(x, state.core, present)
        present = torch.ones_like(state.present) if present is None else present
        return y, ReconstructionState(core, y, x[..., : self.target_size].detach(), present)

    def losses(self, state: ReconstructionState) -> dict[str, Float[Tensor, " B"]]:
        return {**self.core.losses(state.core), "reconstruction": self._error(state)}

    def metrics(self, state: ReconstructionState) -> dict[str, Float[Tensor, " B"]]:
        """Metrics of the core, and reconstruction_error: the square root of the loss, in the units of x."""
        return {**self.core.metrics(state.core), "reconstruction_error": self._error(state).detach().sqrt()}

    def _error(self, state: ReconstructionState) -> Tensor:
        return squared_error(self.decoder(state.y), state.x, state.present)


def squared_error(
    prediction: Float[Tensor, "B N D"], target: Float[Tensor, "B N D"], present: Bool[Tensor, "B N"]
) -> Float[Tensor, " B"]:
    """Mean squared error over numbers and present members; 0 where no member is present."""
    return mean_of_present((prediction - target).square().mean(-1), present)
