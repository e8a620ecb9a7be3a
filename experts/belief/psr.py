"""Predictive state representations (PSRs) as recurrent cores: the state is predictions of observations.

Shapes: B episode, N members, A action, O observation, K number in the predictive state, D input, H output.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from experts.belief.events import ImpossibleObservation, check_input_size, event_weights
from experts.belief.exact import FilterWithNetwork
from experts.belief.model import as_belief_model
from experts.belief.psr_model import PSRModel, exact_psr
from experts.core import Core
from experts.torch_internals import host_readable

ROUNDING = 1e-10  # probabilities below are 0


class PSRState(NamedTuple):
    """The predictive state, and the first event that the model excludes.

    Args:
        q: the predictive state, in the precision of the operators: errors of rounding would make possible what is not.
        impossible: whether an observation had the probability 0; the state was then only predicted.
        event: the state before, weights of the action and of the observation at the first such event; else zeros.
    """

    q: Float[Tensor, "B N K"]
    impossible: Bool[Tensor, "B N"]
    event: Float[Tensor, "B N event"]


class PSRFilter(Core):
    """Filter of a predictive state representation: q' = B_ao q / (b_inf B_ao q); the output is q.

    The input begins with the observation and the last action, one-hot, as `PreviousActionReward(Pomdp(...))` gives
    them; what follows is not read. Zeros stand for none, and other numbers for weights, as in `BeliefFilter`.

    An observation whose probability is 0 raises `ImpossibleObservation`, or is recorded where values cannot be read,
    as in `BeliefFilter`. One that a fitted model finds less likely than its `least`, also below 0, tells nothing: the
    state is only predicted.

    Args:
        input_size: D, at least O + A.
        model: its arrays become buffers in float64.

    Raises:
        ValueError: an input that is too small for the model.

    Source: Littman, Sutton and Singh 2002, equation 1.
    """

    operators: Tensor
    normalizer: Tensor
    start: Tensor

    def __init__(self, input_size: int, *, model: PSRModel):
        super().__init__()
        check_input_size(input_size, actions=model.actions, observations=model.observations)
        self.names, self.least = (tuple(model.actions), tuple(model.observations)), model.least
        self.input_size, self.output_size = input_size, len(model.start)
        for name in ("operators", "normalizer", "start"):
            self.register_buffer(name, torch.tensor(getattr(model, name), dtype=torch.float64))

    def initial_state(self, x: Float[Tensor, "B N D"]) -> PSRState:
        lead, event = x.shape[:2], self.output_size + sum(map(len, self.names))
        q = self.start.to(x.device).expand(*lead, self.output_size)
        impossible = torch.zeros(lead, dtype=torch.bool, device=x.device)
        return PSRState(q, impossible, q.new_zeros(*lead, event))

    def forward(
        self, x: Float[Tensor, "B N D"], state: PSRState, present: Bool[Tensor, "B N"] | None = None
    ) -> tuple[Float[Tensor, "B N K"], PSRState]:
        """One step of every member.

        Args:
            x: the inputs.
            state: the state after the previous step.
            present: members that take part; None: all.

        Raises:
            ImpossibleObservation: probability 0 for a member that takes part, where values can be read at no cost.
        """
        actions, observations = map(len, self.names)
        o = event_weights(x[..., :observations].to(state.q))
        a = event_weights(x[..., observations : observations + actions].to(state.q))
        of_action = torch.einsum("bna,aokj,bnj->bnok", a, self.operators, state.q)  # B_ao q
        predicted = self._normalized(of_action.sum(2) + (1 - a.sum(-1, keepdim=True)) * state.q)
        joint = torch.einsum("bno,bnok->bnk", o, of_action)
        probability = joint @ self.normalizer
        observed = a.sum(-1) * o.sum(-1) > 0
        is_evidence = observed & (probability > max(self.least, ROUNDING))
        q = torch.where(is_evidence.unsqueeze(-1), self._normalized(joint, is_evidence), predicted)
        known = torch.einsum("bna,ao,bno->bn", a, self._known(), o) > 0
        excluded = observed & (self._clipped(probability, known) <= ROUNDING)
        if present is not None:
            excluded = excluded & present
            q = torch.where(present.unsqueeze(-1), q, state.q)
        first = (excluded & ~state.impossible).unsqueeze(-1)
        new = PSRState(q, state.impossible | excluded, torch.where(first, torch.cat([state.q, a, o], -1), state.event))
        if host_readable(excluded) and bool(excluded.any()):
            self.check(new)
        return q.to(x), new

    def probabilities(self, q: Float[Tensor, "*lead K"]) -> Float[Tensor, "*lead A O"]:
        """The probabilities of each observation after each action, clipped at the model's `least`, with the sum 1.

        Args:
            q: predictive states.
        """
        raw = torch.einsum("k,aokj,...j->...ao", self.normalizer, self.operators, q.to(self.operators))
        clipped = self._clipped(raw, self._known() > 0)
        return clipped / clipped.sum(-1, keepdim=True)

    def check(self, state: PSRState) -> None:
        """Raises the first impossible observation that a state records; reads its values on the host.

        Args:
            state: the state after any step.

        Raises:
            ImpossibleObservation: with action and observation, and those that were possible.
        """
        rows = state.impossible.nonzero()
        if not len(rows):
            return
        row, member = rows[0].tolist()
        actions, observations = self.names
        sizes = [self.output_size, len(actions), len(observations)]
        q, a, o = (part.detach() for part in state.event[row, member].split(sizes))
        expected = self.probabilities(q)[a.argmax()].tolist()
        possible = ", ".join(f"{name} {p:.3g}" for name, p in zip(observations, expected, strict=True) if p > ROUNDING)
        raise ImpossibleObservation(
            f"episode {row}, member {member}: observation {observations[int(o.argmax())]!r} after action "
            f"{actions[int(a.argmax())]!r} has the probability 0 in the predictive state, in which it predicts "
            f"{possible or 'none: the action was never taken in its data'}; want the model of the world that is "
            "observed, or one fitted from more steps"
        )

    def metrics(self, state: PSRState) -> dict[str, Float[Tensor, " B"]]:
        """The fraction of members that have met an impossible observation."""
        return {"impossible_observations": state.impossible.to(state.q).mean(-1)}

    def _known(self) -> Float[Tensor, "A O"]:
        """1 where the operator is not 0: the observation has followed the action."""
        return (self.operators != 0).any(-1).any(-1).to(self.operators)

    def _clipped(self, probability: Tensor, known: Tensor) -> Tensor:
        return torch.where(known, probability.clamp(min=self.least), 0)

    def _normalized(self, q: Float[Tensor, "B N K"], valid: Bool[Tensor, "B N"] | None = None) -> Tensor:
        """q / (b_inf q); q where it is not valid."""
        total = (q @ self.normalizer).unsqueeze(-1)
        return q / (total if valid is None else total.where(valid.unsqueeze(-1), 1))


class PSR(FilterWithNetwork):
    """The exact predictive state of a known model, read by a feed-forward network: y = tanh(W2 relu(W1 q)).

    Its state has one number for each core test, at most as many as the model has hidden states. It needs a task with a
    model, as in `badger train pomdp --core psr`; `fit_psr` makes a model from recorded steps.

    Args:
        input_size: D, at least O + A.
        hidden_size: H, of the hidden layer and of the output.
        model: of the task; or a PSR, exact or fitted.

    Raises:
        ValueError: hidden_size < 1, no model, one of another kind, or an input that is too small for it.
    """

    def __init__(self, input_size: int, hidden_size: int, *, model: object):
        def make_filter() -> PSRFilter:
            psr = model if isinstance(model, PSRModel) else exact_psr(as_belief_model(model, "psr"))
            return PSRFilter(input_size, model=psr)

        super().__init__(make_filter, hidden_size)
