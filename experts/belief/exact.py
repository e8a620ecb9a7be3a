"""The exact belief filter (Bayes filter) of a known model with finitely many states, as a recurrent core.

Shapes: B episode, N members, A action, S hidden state, O observation, D input, H output.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from experts.belief.events import ImpossibleObservation, check_input_size, event_weights
from experts.belief.model import as_belief_model
from experts.core import Core, check_positive
from experts.state import State
from experts.torch_internals import host_readable


class BeliefState(NamedTuple):
    """The belief, and the first event that the model excludes.

    Args:
        belief: distribution over the hidden states.
        impossible: whether an observation had the probability 0; the belief was then only predicted.
        event: belief before, weights of the action and of the observation at the first such event; else zeros.
    """

    belief: Float[Tensor, "B N S"]
    impossible: Bool[Tensor, "B N"]
    event: Float[Tensor, "B N event"]


class BeliefFilter(Core):
    """Exact belief filter of a partially observed Markov decision process; the output is the belief.

    b'(s') = O(a, s', o) sum_s T(a, s, s') b(s) / P(o | b, a). The input begins with the observation and the last
    action, one-hot, as `PreviousActionReward(Pomdp(...))` gives them; what follows is not read. Zeros stand for none:
    without an action the state stays, without an observation the belief is only predicted, so that the first input of
    an episode, all zeros, leaves the start. Other numbers are read as weights |x| / sum |x|, with a gradient. Members
    have separate beliefs.

    An observation with P(o | b, a) = 0 raises `ImpossibleObservation`, at once where the values are on the CPU. On a
    GPU, compiled or under `torch.func`, where reading them would wait or fail, the state records it, the metric
    `impossible_observations` counts it and `check` raises it; the belief is then the predicted one and never NaN.

    Args:
        input_size: D, at least O + A.
        model: T, O and start, which become buffers in float64, converted to the dtype of the input at each step.

    Raises:
        ValueError: no model, one of another kind, or an input that is too small for it.

    Source: Kaelbling, Littman and Cassandra 1998, section 3.3.
    """

    transition: Tensor
    observation: Tensor
    start: Tensor

    def __init__(self, input_size: int, *, model: object):
        super().__init__()
        model = as_belief_model(model, "exact_belief")
        self.names = tuple(model.states), tuple(model.actions), tuple(model.observations)
        check_input_size(input_size, actions=model.actions, observations=model.observations)
        self.input_size, self.output_size = input_size, len(model.states)
        for name in ("transition", "observation", "start"):
            self.register_buffer(name, torch.tensor(np.asarray(getattr(model, name)), dtype=torch.float64))

    def initial_state(self, x: Float[Tensor, "B N D"]) -> BeliefState:
        s, a, o = map(len, self.names)
        belief = (self.start / self.start.sum()).to(x).expand(*x.shape[:2], s)
        return BeliefState(
            belief, torch.zeros(x.shape[:2], dtype=torch.bool, device=x.device), x.new_zeros(*x.shape[:2], s + a + o)
        )

    def forward(
        self, x: Float[Tensor, "B N D"], state: BeliefState, present: Bool[Tensor, "B N"] | None = None
    ) -> tuple[Float[Tensor, "B N S"], BeliefState]:
        """One step of every member.

        Args:
            x: the inputs.
            state: the state after the previous step.
            present: members that take part; None: all.

        Raises:
            ImpossibleObservation: P(o | b, a) = 0 for a member that takes part, where values can be read at no cost.
        """
        _, actions, observations = map(len, self.names)
        o = event_weights(x[..., :observations])
        a = event_weights(x[..., observations : observations + actions])
        moved = torch.einsum("bna,ast,bns->bnt", a, self.transition.to(x), state.belief)
        predicted = moved + (1 - a.sum(-1, keepdim=True)) * state.belief
        predicted = predicted / predicted.sum(-1, keepdim=True)  # rows of a file sum to 1 within 1e-5
        likelihood = torch.einsum("bna,bno,ato->bnt", a, o, self.observation.to(x))
        joint = likelihood * predicted
        probability = joint.sum(-1, keepdim=True)
        observed = (a.sum(-1) * o.sum(-1) > 0).unsqueeze(-1)
        possible = probability > 0
        belief = torch.where(observed & possible, joint / torch.where(possible, probability, 1), predicted)
        excluded = (observed & ~possible).squeeze(-1)
        if present is not None:
            excluded = excluded & present
            belief = torch.where(present.unsqueeze(-1), belief, state.belief)
        first = (excluded & ~state.impossible).unsqueeze(-1)
        event = torch.where(first, torch.cat([state.belief, a, o], -1), state.event)
        new = BeliefState(belief, state.impossible | excluded, event)
        if host_readable(excluded) and bool(excluded.any()):
            self.check(new)
        return belief, new

    def check(self, state: BeliefState) -> None:
        """Raises the first impossible observation that a state records; reads its values on the host.

        Args:
            state: the state after any step.

        Raises:
            ImpossibleObservation: with belief, action and observation.
        """
        rows = state.impossible.nonzero()
        if not len(rows):
            return
        row, member = rows[0].tolist()
        states, actions, observations = self.names
        event = state.event[row, member].detach().double().cpu()
        belief, action, observation = event.split([len(states), len(actions), len(observations)])
        likely = [i for i in belief.argsort(descending=True).tolist() if belief[i] > 0]
        shown = ", ".join(f"{states[i]} {belief[i]:.3g}" for i in likely[:8]) + (", ..." if len(likely) > 8 else "")
        raise ImpossibleObservation(
            f"episode {row}, member {member}: observation {observations[int(observation.argmax())]!r} after action "
            f"{actions[int(action.argmax())]!r} has the probability 0 under the belief ({shown}); want the model of "
            "the world that is observed"
        )

    def metrics(self, state: BeliefState) -> dict[str, Float[Tensor, " B"]]:
        """Entropy of the belief in nats, and the fraction of members that have met an impossible observation."""
        return {
            "belief_entropy": -torch.special.xlogy(state.belief, state.belief).sum(-1).mean(-1),
            "impossible_observations": state.impossible.to(state.belief).mean(-1),
        }


class FilterWithNetwork(Core):
    """A filter, read by a feed-forward network: y = tanh(W2 relu(W1 f)).

    Args:
        make_filter: makes the filter; called once.
        hidden_size: H, of the hidden layer and of the output.

    Raises:
        ValueError: hidden_size < 1; or as the filter does.
    """

    def __init__(self, make_filter: Callable[[], Core], hidden_size: int):
        super().__init__()
        check_positive(hidden_size=hidden_size)
        self.filter = make_filter()
        self.input_size, self.output_size = self.filter.input_size, hidden_size
        self.hidden, self.out = nn.Linear(self.filter.output_size, hidden_size), nn.Linear(hidden_size, hidden_size)

    def initial_state(self, x: Float[Tensor, "B N D"]) -> State:
        return self.filter.initial_state(x)

    def forward(
        self, x: Float[Tensor, "B N D"], state: State, present: Bool[Tensor, "B N"] | None = None
    ) -> tuple[Float[Tensor, "B N H"], State]:
        found, state = self.filter(x, state, present)
        return torch.tanh(self.out(torch.relu(self.hidden(found)))), state

    def metrics(self, state: State) -> dict[str, Float[Tensor, " B"]]:
        return self.filter.metrics(state)


class ExactBelief(FilterWithNetwork):
    """The exact belief of a known model, read by a feed-forward network: y = tanh(W2 relu(W1 b)).

    The control for learned memories: an agent with this core lacks nothing that it could remember. It needs a task with
    a model, as in `badger train pomdp --core exact_belief`.

    Args:
        input_size: D, at least O + A.
        hidden_size: H, of the hidden layer and of the output.
        model: of the task.

    Raises:
        ValueError: hidden_size < 1, no model, or an input that is too small for it.
    """

    def __init__(self, input_size: int, hidden_size: int, *, model: object):
        super().__init__(lambda: BeliefFilter(input_size, model=model), hidden_size)
