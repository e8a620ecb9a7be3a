"""A metalearned neural memory with the local rule (Munkhdalai et al. 2019, MNM-p), written from its equations.

Shapes: B episode, I input, H unit of the LSTM, P head, D width of the memory.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from badger.bench.references.maze_training import Network, PolicyOutput


class State(NamedTuple):
    """State of `PlainNeural`: hidden and cell state of the LSTM, last read, and the layers of the memory.

    Args:
        h: hidden state.
        c: cell state.
        read: last read.
        memory: three weight matrices.
    """

    h: Float[Tensor, "B H"]
    c: Float[Tensor, "B H"]
    read: Float[Tensor, "B D"]
    memory: tuple[Float[Tensor, "B D D"], ...]


class PlainNeural(Network):
    """An LSTM with a neural memory of three layers, which is written and read at each step.

    Args:
        input_size: I.
        hidden_size: H.
        actions: number of actions.
        width: D.
        heads: P.
        meta: weight of the auxiliary loss, the error of recalling the values just written.
    """

    initial: Tensor

    def __init__(
        self, input_size: int, hidden_size: int, actions: int, *, width: int = 100, heads: int = 3, meta: float = 0.1
    ):
        super().__init__(hidden_size, actions)
        self.width, self.heads, self.meta = width, heads, meta
        self.cell = nn.LSTMCell(input_size + width, hidden_size)
        self.interact = nn.Linear(hidden_size, width + 3 * heads * width)
        self.rate, self.feedback = nn.Linear(width, 1), nn.Linear(width, 3 * width)
        self.output = nn.Linear(hidden_size + width, hidden_size)
        self.register_buffer("initial", torch.randn(3, width, width) * width**-0.5)

    def initial_state(self, batch: int) -> State:
        h, read = self.initial.new_zeros(batch, self.cell.hidden_size), self.initial.new_zeros(batch, self.width)
        return State(h, h, read, tuple(m.expand(batch, -1, -1) for m in self.initial))

    def forward(self, x: Float[Tensor, "B I"], state: State) -> tuple[PolicyOutput, State]:
        h, c = self.cell(torch.cat([x, state.read], -1), (state.h, state.c))
        size = self.heads * self.width
        rate_input, query, key, value = torch.tanh(self.interact(h)).split([self.width, size, size, size], -1)
        query, key, value = (part.unflatten(-1, (self.heads, -1)) for part in (query, key, value))  # (B, P, D)
        write_rate = torch.sigmoid(self.rate(rate_input)).unsqueeze(-1) * (2 / size)  # (B, 1, 1)
        memory = self._write(state.memory, key, value, write_rate)
        recalled = self._activations(memory, torch.cat([query, key], 1))[-1]
        read = recalled[:, : self.heads].mean(1)
        penalty = self.meta * (recalled[:, self.heads :] - value).square().mean((1, 2))
        y = self.output(torch.cat([h, read], -1))
        return PolicyOutput(self.policy(y), self.value(y).squeeze(-1), penalty), State(h, c, read, memory)

    def _activations(self, memory: tuple[Tensor, ...], keys: Tensor) -> list[Tensor]:
        """Inputs of each layer, and the output of the last."""
        first, second, third = memory
        inner = torch.tanh(torch.bmm(keys, first.mT))
        outer = torch.tanh(torch.bmm(inner, second.mT))
        return [keys, inner, outer, torch.bmm(outer, third.mT)]

    def _write(self, memory: tuple[Tensor, ...], key: Tensor, value: Tensor, write_rate: Tensor) -> tuple[Tensor, ...]:
        """Moves the output of each layer toward its own target."""
        activations, targets = self._activations(memory, key), self.feedback(value).chunk(3, -1)
        return tuple(
            m - torch.bmm((write_rate * (output - target)).mT, layer_input)
            for m, output, target, layer_input in zip(memory, activations[1:], targets, activations, strict=False)
        )
