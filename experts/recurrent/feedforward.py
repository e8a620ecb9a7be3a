"""Feed-forward cores without memory: the control that every memory is compared with, and a linear map."""

from abc import abstractmethod
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from experts.core import Core, check_positive


class FeedforwardState(NamedTuple):
    """The last output, which absent members return again; nothing else depends on it."""

    y: Float[Tensor, "B N H"]


class Memoryless(Core):
    """Abstract base class of cores whose output depends on the present input alone.

    Args:
        input_size: D.
        hidden_size: H, of the output.

    Raises:
        ValueError: hidden_size < 1.
    """

    memoryless = True

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__()
        check_positive(hidden_size=hidden_size)
        self.input_size, self.output_size = input_size, hidden_size

    @abstractmethod
    def output(self, x: Float[Tensor, "*T B N D"]) -> Float[Tensor, "*T B N H"]:
        """The output of one or more steps.

        Args:
            x: the inputs.
        """

    def initial_state(self, x: Float[Tensor, "B N D"]) -> FeedforwardState:
        return FeedforwardState(x.new_zeros(*x.shape[:2], self.output_size))

    def forward(
        self, x: Float[Tensor, "B N D"], state: FeedforwardState, present: Bool[Tensor, "B N"] | None = None
    ) -> tuple[Float[Tensor, "B N H"], FeedforwardState]:
        y = self.output(x)
        y = y if present is None else torch.where(present.unsqueeze(-1), y, state.y)
        return y, FeedforwardState(y)

    def unroll(
        self, xs: Float[Tensor, "T B N D"], state: FeedforwardState, reset: Bool[Tensor, "T B"] | None = None
    ) -> tuple[Float[Tensor, "T B N H"], FeedforwardState]:
        """As the loop of `forward`, all steps at once; a reset has no effect."""
        ys = self.output(xs)
        return ys, FeedforwardState(ys[-1])


class Feedforward(Memoryless):
    """Feed-forward core (multilayer perceptron) without memory: y = tanh(W2 relu(W1 x)).

    As an agent's core it gives an agent without memory. As the controller of a memory it leaves that memory as the only
    one. Outputs are in -1 to 1, as those of a GRU.

    Args:
        input_size: D.
        hidden_size: H, of the hidden layer and of the output.

    Raises:
        ValueError: hidden_size < 1.
    """

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__(input_size, hidden_size)
        self.hidden, self.out = nn.Linear(input_size, hidden_size), nn.Linear(hidden_size, hidden_size)

    def output(self, x: Float[Tensor, "*T B N D"]) -> Float[Tensor, "*T B N H"]:
        """The output of both layers, tanh(W2 relu(W1 x)).

        Args:
            x: the inputs.
        """
        return torch.tanh(self.out(torch.relu(self.hidden(x))))


class Linear(Memoryless):
    """Linear core without memory: y = W x + b, for a memory whose query is linear in the input.

    Args:
        input_size: D.
        hidden_size: H, of the output.

    Raises:
        ValueError: hidden_size < 1.
    """

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__(input_size, hidden_size)
        self.linear = nn.Linear(input_size, hidden_size)

    def output(self, x: Float[Tensor, "*T B N D"]) -> Float[Tensor, "*T B N H"]:
        """The linear map of the input, W x + b.

        Args:
            x: the inputs.
        """
        return self.linear(x)
