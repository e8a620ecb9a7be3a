"""The base class of cores that predict what follows an action, so that an agent can act in imagination.

Shapes: T step, B episode, N members, D input, A numbers of an action, F features, O numbers that are predicted.
"""

from abc import abstractmethod
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from experts import state as states
from experts.core import Core, check_target_size
from experts.trajectory.layout import StepLayout


class WorldModel(Core):
    """A core with a state that moves by an input, or by an action alone.

    The input is [observation, last action, last reward, end of the episode, rest], or [observation, rest] without a
    layout. The observation is what is predicted; reward and end are not read. The output is a network `out` of features
    of the state. It belongs to what reads the output, such as a policy; all other weights are the model's.

    A subclass sets `feature_size` (F) and `out`, and defines a step in two parts: `_encode`, of observation and rest,
    for all steps at once, and `_step`. Its state has the fields `target`, the last observation, `action`, the action
    before it, and `present`.

    Args:
        input_size: D.
        layout: of the input; None: no action, so that it cannot imagine.
        target_size: O where there is no layout; None: all.

    Raises:
        ValueError: an input that is narrower than its layout, or a target_size out of range.
    """

    feature_size: int
    out: nn.Module

    def __init__(self, input_size: int, layout: StepLayout | None, target_size: int | None):
        super().__init__()
        if layout is not None and input_size < layout.input_size:
            raise ValueError(f"input_size={input_size}, want at least {layout.input_size}: {layout}")
        self.input_size = input_size
        self.target_size = check_target_size(target_size, input_size) if layout is None else layout.obs
        self.action_size = 0 if layout is None else layout.action_inputs
        self._rest = self.target_size if layout is None else min(input_size, layout.obs + layout.action_inputs + 2)
        self.encoder_size = self.target_size + input_size - self._rest  # of observation and rest

    def forward(
        self, x: Float[Tensor, "B N D"], state: Any, present: Bool[Tensor, "B N"] | None = None
    ) -> tuple[Float[Tensor, "B N Y"], Any]:
        new = self._step(x, self._encode(x), state)
        if present is not None:
            new = states.where(present, new, state._replace(present=torch.zeros_like(present)))
        return self.out(self.features(new)), new

    def unroll(
        self, xs: Float[Tensor, "T B N D"], state: Any, reset: Bool[Tensor, "T B"] | None = None
    ) -> tuple[Float[Tensor, "T B N Y"], Any]:
        """As the loop of `forward`; observations are encoded, and outputs computed, for all steps at once."""
        every, last = self.observe(xs, state, reset)
        return self.out(self.features(every)), last

    def observe(
        self, xs: Float[Tensor, "T B N D"], state: Any, reset: Bool[Tensor, "T B"] | None = None
    ) -> tuple[Any, Any]:
        """The states after each of several steps, stacked, and the last one.

        Args:
            xs: the inputs.
            state: before the first step.
            reset: as in `unroll`.
        """
        initial, steps = self.initial_state(xs[0]), []
        for t, (x, embedded) in enumerate(zip(xs, self._encode(xs), strict=True)):
            if reset is not None:
                state = states.where(reset[t], initial, state)
            state = self._step(x, embedded, state)
            steps.append(state)
        return states.stack(steps), state

    def last_step(self, state: Any) -> tuple[Float[Tensor, "*B N O"], Float[Tensor, "*B N A"]]:
        """The last observation, and the action before it, as they were in the input.

        Args:
            state: after a step.
        """
        return state.target, state.action

    @abstractmethod
    def imagine(self, action: Float[Tensor, "B N A"], state: Any) -> Any:
        """A state that may follow an action, drawn from what the model predicts.

        Args:
            action: as in the input.
            state: before it.
        """

    @abstractmethod
    def features(self, state: Any) -> Float[Tensor, "*B N F"]:
        """The features of a state: outputs, and further predictions of a learner, depend on them.

        Args:
            state: of one step, or of several, stacked.
        """

    @abstractmethod
    def predict(self, features: Float[Tensor, "*B F"]) -> Float[Tensor, "*B O"]:
        """The expected observation.

        Args:
            features: of a state.
        """

    @abstractmethod
    def _encode(self, x: Float[Tensor, "*T B N D"]) -> Float[Tensor, "*T B N X"]:
        """What a step reads of observation and rest, which does not depend on the state."""

    @abstractmethod
    def _step(self, x: Float[Tensor, "B N D"], embedded: Float[Tensor, "B N X"], state: Any) -> Any:
        """The state after a step."""

    def _encoder_input(self, x: Float[Tensor, "*T B N D"]) -> Float[Tensor, "*T B N X"]:
        """Observation and rest."""
        return torch.cat([x[..., : self.target_size], x[..., self._rest :]], -1)

    def _observed(self, x: Float[Tensor, "B N D"]) -> tuple[Float[Tensor, "B N O"], Float[Tensor, "B N A"]]:
        """Observation and last action."""
        return x[..., : self.target_size], x[..., self.target_size : self.target_size + self.action_size]
