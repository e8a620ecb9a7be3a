"""Predictive-state decoders (PSD): an auxiliary loss that decodes the next inputs from the output (Venkatraman 2017).

Shapes: B episode, N members, I step ahead, D target, Y output.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from experts import state as states
from experts.auxiliary.wrapper import AuxiliaryLoss
from experts.core import Core, check_positive
from experts.state import State


class PSDState(NamedTuple):
    """State of a `PSD` core.

    Args:
        core: state of the wrapped core.
        ys: last outputs, newest first, without that of this step.
        y: output of this step.
        steps: number of steps so far.
        x: last target.
        present: members that took part in the last step.
    """

    core: State
    ys: Float[Tensor, "B N I Y"]
    y: Float[Tensor, "B N Y"]
    steps: Int[Tensor, "B N"]
    x: Float[Tensor, "B N D"]
    present: Bool[Tensor, "B N"]


class PSD(AuxiliaryLoss):
    """Core with predictive-state decoders as the auxiliary loss "psd": |F(y_t) - x_{t+1..t+steps}|^2.

    F is linear, so that the output must be a statistic of the future, as a predictive state is. The loss at step t is
    the mean squared error of the predictions of x_t that were made in the previous `steps` steps, over numbers and
    predictions; one that is missing at the start of an episode counts as 0, as in `CPC`.

    The targets are detached, so messages get no gradient from this loss. Actions are not given to F: it predicts what
    follows under the present policy.

    Args:
        core: the wrapped core; its outputs are unchanged.
        steps: number of future inputs that are decoded.
        target_size: only the first `target_size` numbers of x are decoded; None: all. In an agent x is [obs, inbox,
            identity].

    Raises:
        ValueError: a size out of range.

    Source: Venkatraman et al. 2017, Predictive-State Decoders: Encoding the Future into Recurrent Networks, eq. 6.
    """

    def __init__(self, core: Core, *, steps: int = 3, target_size: int | None = None):
        super().__init__(core, target_size=target_size)
        check_positive(steps=steps)
        self.loss_weights = {"psd": 1.0}
        self.steps = steps
        self.decoder = nn.Linear(core.output_size, steps * self.target_size)

    def initial_state(self, x: Float[Tensor, "B N D"]) -> PSDState:
        lead = x.shape[:2]
        return PSDState(
            self.core.initial_state(x),
            x.new_zeros(*lead, self.steps, self.output_size),
            x.new_zeros(*lead, self.output_size),
            x.new_zeros(lead, dtype=torch.long),
            x.new_zeros(*lead, self.target_size),
            x.new_zeros(lead, dtype=torch.bool),
        )

    def forward(
        self, x: Float[Tensor, "B N D"], state: PSDState, present: Bool[Tensor, "B N"] | None = None
    ) -> tuple[Float[Tensor, "B N Y"], PSDState]:
        y, core = self.core(x, state.core, present)
        ys = torch.cat([state.y.unsqueeze(2), state.ys[:, :, :-1]], 2)
        target = x[..., : self.target_size].detach()
        new = PSDState(None, ys, y, state.steps + 1, target, torch.ones_like(state.present))
        if present is not None:
            new = states.where(present, new, state._replace(core=None, present=torch.zeros_like(present)))
        return y, new._replace(core=core)

    def losses(self, state: PSDState) -> dict[str, Float[Tensor, " B"]]:
        return {**self.core.losses(state.core), "psd": self._errors(state).mean((1, 2))}

    def metrics(self, state: PSDState) -> dict[str, Float[Tensor, " B"]]:
        """Metrics of the core, and psd_error: the square root of the error of the next input, in the units of x."""
        return {**self.core.metrics(state.core), "psd_error": self._errors(state)[..., 0].mean(1).detach().sqrt()}

    def _errors(self, state: PSDState) -> Float[Tensor, "B N I"]:
        """Mean squared errors of predictions of x, 0 where there is none; means over N are over present members."""
        weight, bias = (part.unflatten(0, (self.steps, -1)) for part in (self.decoder.weight, self.decoder.bias))
        predicted = torch.einsum("bniy,idy->bnid", state.ys, weight) + bias
        errors = (predicted - state.x.unsqueeze(2)).square().mean(-1)
        made = torch.arange(1, self.steps + 1, device=errors.device) < state.steps.unsqueeze(-1)
        errors = torch.where(made & state.present.unsqueeze(-1), errors, 0)
        present = state.present.sum(1).clamp(min=1)
        return errors * (state.present.shape[1] / present)[:, None, None]
