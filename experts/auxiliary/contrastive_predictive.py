"""Contrastive predictive coding: what a core puts out must tell what it will see next (van den Oord et al. 2018)."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from experts import state as states
from experts.core import Core, positive
from experts.state import State


class PredictiveState(NamedTuple):
    """ys: the last steps' outputs, newest first. seen: steps so far. code: of the last input. there: who took part in
    the last step."""

    core: State
    ys: Float[Tensor, "B N I Y"]
    seen: Int[Tensor, "B N"]
    code: Float[Tensor, "B N C"]
    there: Bool[Tensor, "B N"]


class Predictive(Core):
    """A core with the auxiliary loss "cpc": from y_t, the codes of x_{t+1} ... x_{t+steps} are predicted, each i by a
    matrix W_i, and must be told from the codes that the same member sees in the batch's other episodes at that step:
    InfoNCE (van den Oord et al. 2018, arXiv:1807.03748, eq. 3 and 4), as in Fortunato et al. 2019 (sec. 2.1).

    The loss told at step t is that of the predictions of x_t made in the `steps` steps before: their mean, where a
    prediction that was not yet possible counts as 0. So a mean over an episode of T steps is lower than the mean over
    predictions by a factor of 1 - (steps + 1) / 2T.

    **This loss mixes the rows of a batch**, and depends on who else is in it; outputs and the core's state do not. Of a
    batch of one it is 0. It compares each episode with each: B x B numbers a step and member. Wrap the members,
    `Predictive(Private(core))`; in `Private(Predictive(core))` members of the same episode, who see much the same, are
    told from each other too. Members that are absent predict nothing and are compared with nothing.

    Args:
        core: what is wrapped; outputs stay as they are.
        steps: how far ahead.
        code_size: numbers in a code, a linear map of x.
        of: only the first `of` numbers of x are coded; None: all. In an agent x is [obs, inbox, identity], and an
            identity, the same for a whole episode, tells episodes apart without any prediction: say of=task.obs_size.

    Raises:
        ValueError: a size out of range.
    """

    def __init__(self, core: Core, *, steps: int = 3, code_size: int = 16, of: int | None = None):
        super().__init__()
        of = core.input_size if of is None else of
        positive(steps=steps, code_size=code_size)
        if not 1 <= of <= core.input_size:
            raise ValueError(f"of={of}, want 1 to the core's input_size={core.input_size}: the first numbers of x")
        self.core, self.steps, self.of = core, steps, of
        self.input_size, self.output_size = core.input_size, core.output_size
        self.code = nn.Linear(of, code_size)
        self.ahead = nn.Parameter(torch.randn(steps, code_size, core.output_size) * core.output_size**-0.5)

    def initial_state(self, x: Float[Tensor, "B N D"]) -> PredictiveState:
        return PredictiveState(
            self.core.initial_state(x),
            x.new_zeros(*x.shape[:2], self.steps + 1, self.output_size),
            x.new_zeros(x.shape[:2], dtype=torch.long),
            x.new_zeros(*x.shape[:2], self.code.out_features),
            x.new_zeros(x.shape[:2], dtype=torch.bool),
        )

    def forward(
        self, x: Float[Tensor, "B N D"], state: PredictiveState, present: Bool[Tensor, "B N"] | None = None
    ) -> tuple[Float[Tensor, "B N Y"], PredictiveState]:
        y, core = self.core(x, state.core, present)
        ys = torch.cat([y.unsqueeze(2), state.ys[:, :, :-1]], 2)
        new = PredictiveState(None, ys, state.seen + 1, self.code(x[..., : self.of]), torch.ones_like(state.there))
        if present is not None:
            new = states.where(present, new, state._replace(core=None, there=torch.zeros_like(present)))
        return y, new._replace(core=core)

    def losses(self, state: PredictiveState) -> dict[str, Float[Tensor, " B"]]:
        loss, _, due = self._judged(state)
        each = torch.where(due, loss, 0).mean(-1)  # (B, N)
        return {**self.core.losses(state.core), "cpc": _per(each.sum(1), state.there.sum(1))}

    def metrics(self, state: PredictiveState) -> dict[str, Float[Tensor, " B"]]:
        """The core's, and cpc_accuracy: share of the last step's predictions that fit the true code best; by chance
        one of the batch does."""
        loss, right, due = self._judged(state)
        hits = (right & due).sum((1, 2)).to(loss.dtype)
        return {**self.core.metrics(state.core), "cpc_accuracy": _per(hits, due.sum((1, 2)))}

    def _judged(self, state: PredictiveState) -> tuple[Tensor, Tensor, Tensor]:
        """Of each prediction of the last input, (B, N, steps): its loss, whether it is right, whether it was made."""
        predicted = torch.einsum("bniy,icy->bnic", state.ys[:, :, 1:], self.ahead)
        loss, right = info_nce(predicted, state.code, state.there)
        made = torch.arange(1, self.steps + 1, device=loss.device) < state.seen.unsqueeze(-1)
        return loss, right, made & state.there.unsqueeze(-1)

    def read_weights(self, state: PredictiveState) -> Float[Tensor, "B N slots"] | None:
        return self.core.read_weights(state.core)

    def traces(self, state: PredictiveState) -> dict[str, Float[Tensor, "B N _"]]:
        return self.core.traces(state.core)

    def members(self, state: PredictiveState, index: Int[Tensor, " M"], x: Float[Tensor, "B M D"]) -> PredictiveState:
        own, blank = (s._replace(core=None) for s in (state, self.initial_state(x)))
        return states.renew(own, blank, index)._replace(core=self.core.members(state.core, index, x))


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
