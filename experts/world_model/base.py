"""The base class of cores that predict what follows an action, so that an agent can act in imagination.

Shapes: T step, B episode, N members, D input, A numbers of an action, F features, O numbers that are predicted.
"""

from abc import abstractmethod
from typing import Any

from jaxtyping import Bool, Float
from torch import Tensor, nn

from experts.core import Core


class WorldModel(Core):
    """A core with a state that moves by an input, or by an action alone.

    The input begins with the numbers that are predicted, an observation; the last action follows. The output is a
    network `out` of features of the state. It belongs to what reads the output, such as a policy; all other
    weights are the model's.

    A subclass sets `target_size` (O), `action_size` (A; 0: it is not told the last action, and cannot imagine),
    `feature_size` (F) and `out`.
    """

    target_size: int
    action_size: int
    feature_size: int
    out: nn.Module

    @abstractmethod
    def observe(
        self, xs: Float[Tensor, "T B N D"], state: Any, reset: Bool[Tensor, "T B"] | None = None
    ) -> tuple[Any, Any]:
        """The states after each of several steps, stacked, and the last one.

        Args:
            xs: the inputs.
            state: before the first step.
            reset: as in `unroll`.
        """

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
    def last_step(self, state: Any) -> tuple[Float[Tensor, "*B N O"], Float[Tensor, "*B N A"]]:
        """The last observation, and the action before it, as they were in the input.

        Args:
            state: after a step.
        """
