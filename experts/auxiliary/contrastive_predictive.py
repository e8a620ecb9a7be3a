"""Contrastive predictive coding (CPC): an auxiliary loss that predicts future inputs (van den Oord et al. 2018)."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from experts import state as states
from experts.auxiliary.wrapper import AuxiliaryLoss
from experts.core import Core, check_positive
from experts.state import State


class CPCState(NamedTuple):
    """State of a `CPC` core.

    Args:
        core: state of the wrapped core.
        ys: last outputs, newest first.
        steps: number of steps so far.
        code: code of the last input.
        present: members that took part in the last step.
    """

    core: State
    ys: Float[Tensor, "B N I Y"]
    steps: Int[Tensor, "B N"]
    code: Float[Tensor, "B N C"]
    present: Bool[Tensor, "B N"]


class CPC(AuxiliaryLoss):
    """Core with contrastive predictive coding as the auxiliary loss "cpc".

    From y_t, the codes of x_{t+1} ... x_{t+steps} are predicted, each i by a matrix W_i. InfoNCE contrasts the true
    code with the codes of the same member at that step in the other episodes of the batch.

    The loss at step t is the mean over the predictions of x_t made in the previous `steps` steps, where a missing
    prediction at the start of an episode counts as 0. The mean over an episode of T steps is therefore lower than the
    mean over predictions by a factor of 1 - (steps + 1) / 2T.

    **This loss mixes the episodes of a batch**; outputs and the core's state do not. For a batch of one it is 0. It
    takes B x B numbers for each step and member. Wrap the members inside, `CPC(Private(core))`: with
    `Private(CPC(core))` the members of one episode, whose inputs are similar, are negatives of each other. Absent
    members make no predictions and are no negatives.

    Args:
        core: the wrapped core; its outputs are unchanged.
        steps: number of future inputs that are predicted.
        code_size: size of a code, a linear map of x.
        target_size: only the first `target_size` numbers of x are encoded; None: all. In an agent x is [obs, inbox,
            identity]. An identity is constant in an episode and identifies it without any prediction, so take
            target_size=task.obs_size.

    Raises:
        ValueError: a size out of range.

    Source: van den Oord et al. 2018 (arXiv:1807.03748, eq. 3 and 4); Fortunato et al. 2019 (sec. 2.1).
    """

    def __init__(self, core: Core, *, steps: int = 3, code_size: int = 16, target_size: int | None = None):
        super().__init__(core, target_size=target_size)
        check_positive(steps=steps, code_size=code_size)
        self.loss_weights = {"cpc": 0.1}
        self.steps = steps
        self.encoder = nn.Linear(self.target_size, code_size)
        self.predictors = nn.Parameter(torch.randn(steps, code_size, core.output_size) * core.output_size**-0.5)

    def initial_state(self, x: Float[Tensor, "B N D"]) -> CPCState:
        return CPCState(
            self.core.initial_state(x),
            x.new_zeros(*x.shape[:2], self.steps + 1, self.output_size),
            x.new_zeros(x.shape[:2], dtype=torch.long),
            x.new_zeros(*x.shape[:2], self.encoder.out_features),
            x.new_zeros(x.shape[:2], dtype=torch.bool),
        )

    def forward(
        self, x: Float[Tensor, "B N D"], state: CPCState, present: Bool[Tensor, "B N"] | None = None
    ) -> tuple[Float[Tensor, "B N Y"], CPCState]:
        y, core = self.core(x, state.core, present)
        ys = torch.cat([y.unsqueeze(2), state.ys[:, :, :-1]], 2)
        new = CPCState(
            None, ys, state.steps + 1, self.encoder(x[..., : self.target_size]), torch.ones_like(state.present)
        )
        if present is not None:
            new = states.where(present, new, state._replace(core=None, present=torch.zeros_like(present)))
        return y, new._replace(core=core)

    def losses(self, state: CPCState) -> dict[str, Float[Tensor, " B"]]:
        loss, _, valid = self._predictions(state)
        losses = torch.where(valid, loss, 0).mean(-1)  # (B, N)
        return {**self.core.losses(state.core), "cpc": _mean(losses.sum(1), state.present.sum(1))}

    def metrics(self, state: CPCState) -> dict[str, Float[Tensor, " B"]]:
        """Metrics of the core, and cpc_accuracy: fraction of predictions with the highest score at the true code.

        Chance level is 1 / batch size.
        """
        loss, correct, valid = self._predictions(state)
        hits = (correct & valid).sum((1, 2)).to(loss.dtype)
        return {**self.core.metrics(state.core), "cpc_accuracy": _mean(hits, valid.sum((1, 2)))}

    def _predictions(self, state: CPCState) -> tuple[Tensor, Tensor, Tensor]:
        """Loss, correctness and validity of each prediction of the last input, (B, N, steps)."""
        predicted = torch.einsum("bniy,icy->bnic", state.ys[:, :, 1:], self.predictors)
        loss, correct = info_nce(predicted, state.code, state.present)
        valid = torch.arange(1, self.steps + 1, device=loss.device) < state.steps.unsqueeze(-1)
        return loss, correct, valid & state.present.unsqueeze(-1)


def info_nce(
    predicted: Float[Tensor, "B N I C"], codes: Float[Tensor, "B N C"], present: Bool[Tensor, "B N"]
) -> tuple[Float[Tensor, "B N I"], Bool[Tensor, "B N I"]]:
    """InfoNCE loss: -log softmax of predicted . code over the episodes of a batch, at the own episode.

    Also returns whether the own score is the highest. present: members whose codes are negatives.
    """
    scores = torch.einsum("bnic,anc->bnia", predicted, codes)
    own = torch.eye(len(codes), dtype=torch.bool, device=codes.device)
    candidates = present.mT | own.unsqueeze(1)  # (B, N, B)
    scores = scores.masked_fill(~candidates.unsqueeze(2), -torch.inf)
    own_score = scores.diagonal(dim1=0, dim2=3).permute(2, 0, 1)  # (N, I, B) -> (B, N, I)
    return scores.logsumexp(-1) - own_score, (own_score.unsqueeze(-1) >= scores).all(-1)


def _mean(total: Tensor, count: Tensor) -> Tensor:
    return total / count.clamp(min=1)
