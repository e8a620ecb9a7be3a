"""A metalearned neural memory with the local rule (Munkhdalai et al. 2019, MNM-p), as one would write it down.

Shapes: B episode, I input, H unit of the LSTM, P head, D width of the memory.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from badger.bench.references.maze_training import Network, PolicyOutput


class State(NamedTuple):
    h: Float[Tensor, "B H"]
    c: Float[Tensor, "B H"]
    read: Float[Tensor, "B D"]
    memory: tuple[Float[Tensor, "B D D"], ...]


class PlainNeural(Network):
    """An LSTM beside a network of three matrices that it writes to and reads from in each step. meta: weight of the
    error with which the memory recalls what was just written."""

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

    def begin(self, batch: int) -> State:
        h, read = self.initial.new_zeros(batch, self.cell.hidden_size), self.initial.new_zeros(batch, self.width)
        return State(h, h, read, tuple(m.expand(batch, -1, -1) for m in self.initial))

    def forward(self, x: Float[Tensor, "B I"], state: State) -> tuple[PolicyOutput, State]:
        h, c = self.cell(torch.cat([x, state.read], -1), (state.h, state.c))
        size = self.heads * self.width
        for_rate, ask, key, value = torch.tanh(self.interact(h)).split([self.width, size, size, size], -1)
        ask, key, value = (part.unflatten(-1, (self.heads, -1)) for part in (ask, key, value))  # (B, P, D)
        share = torch.sigmoid(self.rate(for_rate)).unsqueeze(-1) * (2 / size)  # (B, 1, 1)
        memory = self._written(state.memory, key, value, share)
        recalled = self._through(memory, torch.cat([ask, key], 1))[-1]
        read = recalled[:, : self.heads].mean(1)
        penalty = self.meta * (recalled[:, self.heads :] - value).square().mean((1, 2))
        y = self.output(torch.cat([h, read], -1))
        return PolicyOutput(self.policy(y), self.value(y).squeeze(-1), penalty), State(h, c, read, memory)

    def _through(self, memory: tuple[Tensor, ...], keys: Tensor) -> list[Tensor]:
        """What each layer eats, and what comes out of the last."""
        first, second, third = memory
        inner = torch.tanh(torch.bmm(keys, first.mT))
        outer = torch.tanh(torch.bmm(inner, second.mT))
        return [keys, inner, outer, torch.bmm(outer, third.mT)]

    def _written(self, memory: tuple[Tensor, ...], key: Tensor, value: Tensor, share: Tensor) -> tuple[Tensor, ...]:
        """Each layer moves towards a target of its own."""
        eaten, targets = self._through(memory, key), self.feedback(value).chunk(3, -1)
        return tuple(
            m - torch.bmm((share * (z - target)).mT, below)
            for m, z, target, below in zip(memory, eaten[1:], targets, eaten, strict=False)
        )
