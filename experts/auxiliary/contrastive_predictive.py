"""Contrastive predictive coding: what a core puts out must tell what it will see next (van den Oord et al. 2018)."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from experts import state as states
from experts.core import Core, check_positive
from experts.state import State


class CPCState(NamedTuple):
    """ys: the last steps' outputs, newest first. steps: steps so far. code: of the last input. present: who took part in
    the last step."""

    core: State
    ys: Float[Tensor, "B N I Y"]
    steps: Int[Tensor, "B N"]
    code: Float[Tensor, "B N C"]
    present: Bool[Tensor, "B N"]


class CPC(Core):
    """A core with the auxiliary loss "cpc": from y_t, the codes of x_{t+1} ... x_{t+steps} are predicted, each i by a
    matrix W_i, and must be told from the codes that the same member sees in the batch's other episodes at that step:
    InfoNCE (van den Oord et al. 2018, arXiv:1807.03748, eq. 3 and 4), as in Fortunato et al. 2019 (sec. 2.1).

    The loss told at step t is that of the predictions of x_t made in the `steps` steps before: their mean, where a
    prediction that was not yet possible counts as 0. So a mean over an episode of T steps is lower than the mean over
    predictions by a factor of 1 - (steps + 1) / 2T.

    **This loss mixes the rows of a batch**, and depends on who else is in it; outputs and the core's state do not. Of a
    batch of one it is 0. It compares each episode with each: B x B numbers a step and member. Wrap the members,
    `CPC(Private(core))`; in `Private(Predictive(core))` members of the same episode, who see much the same, are
    told from each other too. Members that are absent predict nothing and are compared with nothing.

    Args:
        core: what is wrapped; outputs stay as they are.
        steps: how far ahead.
        code_size: numbers in a code, a linear map of x.
        target_size: only the first `target_size` numbers of x are coded; None: all. In an agent x is [obs, inbox, identity], and an
            identity, the same for a whole episode, tells episodes apart without any prediction: say of=task.obs_size.

    Raises:
        ValueError: a size out of range.
    """

    def __init__(self, core: Core, *, steps: int = 3, code_size: int = 16, target_size: int | None = None):
        super().__init__()
        target_size = core.input_size if target_size is None else target_size
        check_positive(steps=steps, code_size=code_size)
        if not 1 <= target_size <= core.input_size:
            raise ValueError(
                f"target_size={target_size}, want 1 to the core's input_size={core.input_size}: the first numbers of x"
            )
        self.loss_weights = {"cpc": 0.1}
        self.core, self.steps, self.target_size = core, steps, target_size
        self.input_size, self.output_size = core.input_size, core.output_size
        self.encoder = nn.Linear(target_size, code_size)
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
        loss, _, due = self._predictions(state)
        each = torch.where(due, loss, 0).mean(-1)  # (B, N)
        return {**self.core.losses(state.core), "cpc": _per(each.sum(1), state.present.sum(1))}

    def metrics(self, state: CPCState) -> dict[str, Float[Tensor, " B"]]:
        """The core's, and cpc_accuracy: share of the last step's predictions that fit the true code best; by chance
        one of the batch does."""
        loss, right, due = self._predictions(state)
        hits = (right & due).sum((1, 2)).to(loss.dtype)
        return {**self.core.metrics(state.core), "cpc_accuracy": _per(hits, due.sum((1, 2)))}

    def _predictions(self, state: CPCState) -> tuple[Tensor, Tensor, Tensor]:
        """Of each prediction of the last input, (B, N, steps): its loss, whether it is right, whether it was made."""
        predicted = torch.einsum("bniy,icy->bnic", state.ys[:, :, 1:], self.predictors)
        loss, right = info_nce(predicted, state.code, state.present)
        made = torch.arange(1, self.steps + 1, device=loss.device) < state.steps.unsqueeze(-1)
        return loss, right, made & state.present.unsqueeze(-1)

    def read_weights(self, state: CPCState) -> Float[Tensor, "B N slots"] | None:
        return self.core.read_weights(state.core)

    def read_write_vectors(self, state: CPCState) -> dict[str, Float[Tensor, "B N _"]]:
        return self.core.read_write_vectors(state.core)

    def select_members(self, state: CPCState, index: Int[Tensor, " M"], x: Float[Tensor, "B M D"]) -> CPCState:
        own, blank = (s._replace(core=None) for s in (state, self.initial_state(x)))
        return states.select_or_reset_members(own, blank, index)._replace(
            core=self.core.select_members(state.core, index, x)
        )


def info_nce(
    predicted: Float[Tensor, "B N I C"], codes: Float[Tensor, "B N C"], there: Bool[Tensor, "B N"]
) -> tuple[Float[Tensor, "B N I"], Bool[Tensor, "B N I"]]:
    """-log of the softmax of predicted . code over the episodes of a batch, at the own one; and whether none is higher.

    there: whose codes count beside one's own.
    """
    scores = torch.einsum("bnic,anc->bnia", predicted, codes)
    own = torch.eye(len(codes), dtype=torch.bool, device=codes.device)
    others = there.mT | own.unsqueeze(1)  # (B, N, B)
    scores = scores.masked_fill(~others.unsqueeze(2), -torch.inf)
    mine = scores.diagonal(dim1=0, dim2=3).permute(2, 0, 1)  # (N, I, B) -> (B, N, I)
    return scores.logsumexp(-1) - mine, (mine.unsqueeze(-1) >= scores).all(-1)


def _per(total: Tensor, count: Tensor) -> Tensor:
    return total / count.clamp(min=1)
