"""A core that remembers nothing: the control that every memory is compared with."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from experts.core import Core


class FeedforwardState(NamedTuple):
    y: Float[Tensor, "B N H"]  # the last output; who is absent gives it again, and nothing else reads it


class Feedforward(Core):
    """y = tanh(W2 relu(W1 x)): of the present input alone, and within -1 and 1 as the output of a GRU is.

    In place of a recurrent core it leaves an agent without memory; as the controller of a memory, with that alone.
    """

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__()
        self.input_size, self.output_size = input_size, hidden_size
        self.hidden, self.out = nn.Linear(input_size, hidden_size), nn.Linear(hidden_size, hidden_size)

    def initial_state(self, x: Float[Tensor, "B N D"]) -> FeedforwardState:
        return FeedforwardState(x.new_zeros(*x.shape[:2], self.output_size))

    def forward(
        self, x: Float[Tensor, "B N D"], state: FeedforwardState, present: Bool[Tensor, "B N"] | None = None
    ) -> tuple[Float[Tensor, "B N H"], FeedforwardState]:
        y = self._of(x)
        y = y if present is None else torch.where(present.unsqueeze(-1), y, state.y)
        return y, FeedforwardState(y)

    def unroll(
        self, xs: Float[Tensor, "T B N D"], state: FeedforwardState, reset: Bool[Tensor, "T B"] | None = None
    ) -> tuple[Float[Tensor, "T B N H"], FeedforwardState]:
        """As the loop of `forward`, all steps at once: there is nothing to reset."""
        ys = self._of(xs)
        return ys, FeedforwardState(ys[-1])

    def _of(self, x: Tensor) -> Tensor:
        return torch.tanh(self.out(torch.relu(self.hidden(x))))
