"""Generalised Decision Transformer: a Decision Transformer that is asked for a distribution of rewards.

Shapes: B episode, N members, T step, D input, Y output.
"""

from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from experts import state as states
from experts.attention.decision_transformer import DecisionTransformer
from experts.attention.return_to_go import set_target_return, target_return
from experts.core import Core, check_at_most, check_positive
from experts.state import State, expand_mask
from experts.trajectory.futures import BidirectionalFuture, CategoricalFuture, Future
from experts.trajectory.layout import EXAMPLE, LARGEST, StepLayout

MATCHES: dict[str, type[Future]] = {"categorical": CategoricalFuture, "bidirectional": BidirectionalFuture}


class GeneralizedState(NamedTuple):
    """State of a `GeneralizedDT`.

    Args:
        inner: of the Decision Transformer.
        left: what is asked for; the last reward, which the next input has, is still in it.
        steps: inputs of the episode so far.
    """

    inner: Any
    left: Tensor
    steps: Int[Tensor, "B N"]


class GeneralizedDT(Core):
    """A Decision Transformer whose input has a description of the rewards to come, besides the return.

    In training the description is that of the recorded future (hindsight information matching); when the agent acts,
    it is that of a target, such as another distribution of the same return, less what was lived.

    Args:
        input_size: D.
        hidden_size: Y.
        layout, target_return, return_scale, context, layers, heads, max_time: as for `DecisionTransformer`.
        match: categorical: the histogram of the rewards to come; bidirectional: a code of the next rewards in order.
        bins: of the histogram.

    Raises:
        ValueError: as `DecisionTransformer` does; fewer than 1 bin.

    Source: Furuta, Matsuo and Gu 2022, "Generalized Decision Transformer for Offline Hindsight Information Matching"
    (arXiv:2111.10364).
    """

    reads_measurements = True

    def __init__(
        self,
        input_size: int,
        hidden_size: int = 128,
        *,
        layout: StepLayout | None = EXAMPLE,
        target_return: float = 0.0,
        return_scale: float = 1.0,
        context: int = 20,
        layers: int = 3,
        heads: int = 1,
        max_time: int = 1024,
        match: Literal["categorical", "bidirectional"] = "categorical",
        bins: int = 30,
    ):
        super().__init__()
        check_positive(bins=bins)
        check_at_most(LARGEST, bins=bins)
        self.future: Future = CategoricalFuture(bins) if match == "categorical" else BidirectionalFuture()
        self.inner = DecisionTransformer(
            input_size + self.future.size, hidden_size, layout=layout, target_return=target_return,
            return_scale=return_scale, context=context, layers=layers, heads=heads,
            max_time=max_time,
        )  # fmt: skip
        self.input_size, self.output_size = input_size, hidden_size

    @property
    def context(self) -> int:
        """Steps that are read."""
        return self.inner.context

    @property
    def target_return(self) -> Tensor:
        """The return that is asked for."""
        return self.inner.target_return

    def initial_state(self, x: Float[Tensor, "B N D"]) -> GeneralizedState:
        lead, target = x.shape[:2], self.future.target.to(x.dtype)
        left = x.new_zeros(*lead, *target.shape) + target
        return GeneralizedState(self.inner.initial_state(self._extend(x, left)), left, x.new_zeros(lead).long())

    def forward(
        self, x: Float[Tensor, "B N D"], state: GeneralizedState, present: Bool[Tensor, "B N"] | None = None
    ) -> tuple[Float[Tensor, "B N Y"], GeneralizedState]:
        left, steps = self._advance(x, state.left, state.steps)
        y, inner = self.inner(self._extend(x, left), state.inner, present)
        new, old = (left, steps), (state.left, state.steps)
        left, steps = new if present is None else states.where(present, new, old)
        return y, GeneralizedState(inner, left, steps)

    def unroll(
        self, xs: Float[Tensor, "T B N D"], state: GeneralizedState, reset: Bool[Tensor, "T B"] | None = None
    ) -> tuple[Float[Tensor, "T B N Y"], GeneralizedState]:
        """As the loop of `forward`, in one pass of the transformer."""
        left, steps, described = state.left, state.steps, []
        for t, x in enumerate(xs):
            if reset is not None:
                begun = reset[t]
                target = self.future.target.to(x.dtype).expand_as(left)
                left = torch.where(expand_mask(begun, left.dim()), target, left)
                steps = torch.where(expand_mask(begun, steps.dim()), 0, steps)
            left, steps = self._advance(x, left, steps)
            described.append(left)
        ys, inner = self.inner.unroll(self._extend(xs, torch.stack(described)), state.inner, reset)
        return ys, GeneralizedState(inner, left, steps)

    def _advance(self, x: Tensor, left: Tensor, steps: Tensor) -> tuple[Tensor, Tensor]:
        """What is left after the last reward, which the first input of an episode does not have."""
        at = self.inner.obs_size + self.inner.action_size
        after = self.future.advance(left, x[..., at])
        return torch.where(expand_mask(steps > 0, left.dim()), after, left), steps + 1

    def _extend(self, x: Tensor, left: Tensor) -> Tensor:
        """The input with the description of what is left behind it."""
        described = self.future(left.flatten(0, x.dim() - 3))  # steps, if there are any, are episodes here
        return torch.cat([x, described.view(*x.shape[:-1], self.future.size)], -1)

    def ask(self, reward: Float[Tensor, " L"]) -> None:
        """Asks for these rewards, and their sum, in each new episode.

        Args:
            reward: of an episode, in order.
        """
        self.future.ask(reward)
        self.inner.target_return.copy_(reward.sum())

    def with_future(self, state: State, reward: Float[Tensor, "B L"], valid: Bool[Tensor, "B L"]) -> GeneralizedState:
        """An initial state that is asked for the rewards that follow in a recording.

        Args:
            state: of the core.
            reward: of the steps to come.
            valid: those that are not padding.
        """
        assert isinstance(state, GeneralizedState)
        left = self.future.describe(reward, valid).to(state.left).unsqueeze(1).expand_as(state.left)
        return state._replace(left=left)

    def metrics(self, state: GeneralizedState) -> dict[str, Float[Tensor, " B"]]:
        """Those of the Decision Transformer."""
        return self.inner.metrics(state.inner)


def ask_for_rewards(module: nn.Module, reward: Float[Tensor, " L"]) -> None:
    """Asks an agent for the rewards of an episode: a `GeneralizedDT` for all of them, others for their sum.

    Args:
        module: an agent, or a core.
        reward: of an episode, in order.

    Raises:
        ValueError: it is not asked for a return.
    """
    asked = [part for part in module.modules() if isinstance(part, GeneralizedDT)]
    for core in asked:
        core.ask(reward)
    if not asked and target_return(module) is None:
        raise ValueError("target_rewards: the agent is not asked for any; want one with a core such as generalized_dt")
    if not asked:
        set_target_return(module, float(reward.sum()))
