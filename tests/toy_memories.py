"""Small inputs, resets and ways to step for the tests of memories, a small neural memory, and a core that draws."""

from functools import partial
from itertools import product
from typing import NamedTuple

import pytest
import torch
from torch import nn

from badger.testing.core import cases
from badger.testing.core.cases import noise
from experts import GRU, LSTM, Core, NeuralMemory, RandomKey, State, initial_key
from experts import state as states

D, B, N = 2, 2, 2
MEASURES = [*product(("dot", "scaled_dot", "cosine", "l2"), ("softmax", "similarity")), ("l2", "inverse_distance")]
STORES = pytest.mark.parametrize("private", [True, False], ids=["private", "shared"])


def inputs(steps: int, batch: int = B, n: int = N) -> torch.Tensor:
    return noise(steps, batch, n, D).requires_grad_()


def resets(steps: int) -> torch.Tensor:
    """Row 0 restarts at a third, row 1 at half and right after."""
    reset = torch.zeros(steps, B, dtype=torch.bool)
    reset[steps // 3, 0] = reset[steps // 2, 1] = reset[steps // 2 + 1, 1] = True
    return reset


def absences(steps: int) -> torch.Tensor:
    return noise(steps, B, N, seed=5) < 0.5


def stepped(core: Core, xs, reset=None, present=None, step=None, without_grad=()) -> tuple[torch.Tensor, list[State]]:
    """The outputs, and the state before each step and after the last."""
    step = core if step is None else step
    graph = torch.is_grad_enabled()
    previous = [core.initial_state(xs[0])]
    ys = []
    for t, x in enumerate(xs):
        with torch.set_grad_enabled(graph and t not in without_grad):
            if reset is not None:
                previous[t] = states.where(reset[t], core.initial_state(x), previous[t])
            y, state = step(x, previous[t], None if present is None else present[t])
        ys.append(y)
        previous.append(state)
    return torch.stack(ys), previous


class Unroll(nn.Module):
    """An episode as one call, for functional_call."""

    def __init__(self, core: Core, **episodes: torch.Tensor):
        super().__init__()
        self.core, self.episodes = core, episodes

    def forward(self, xs: torch.Tensor) -> torch.Tensor:
        return stepped(self.core, xs, **self.episodes)[0]


def ensemble(core: Core, size: int = 3) -> dict[str, torch.Tensor]:
    """Parameters of several memories, stacked."""
    scales = torch.linspace(1, 2, size, dtype=torch.double)
    named = Unroll(core).named_parameters()
    return {name: torch.stack([s * p.detach() for s in scales]).requires_grad_() for name, p in named}


def constant(layer: nn.Linear) -> None:
    nn.init.zeros_(layer.weight)
    nn.init.ones_(layer.bias)


def neural_memory(cell=LSTM, **options) -> NeuralMemory:
    """With a scale at which the memory moves a good deal."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        defaults = {"width": 4, "scale": 0.7, "output_size": 2}
        return NeuralMemory(cases.D, partial(cell, hidden_size=3), **defaults | options).double()


class DrawingState(NamedTuple):
    gru: State
    key: RandomKey


class DrawingGRU(Core):
    """A GRU with noisy inputs."""

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__()
        self.gru = GRU(input_size, hidden_size)
        self.input_size, self.output_size = input_size, hidden_size

    def noise(self, x, key):
        return key.normal(x, x.shape[-1])

    def initial_state(self, x):
        return DrawingState(self.gru.initial_state(x), initial_key(x))

    def forward(self, x, state, present=None):
        y, gru = self.gru(x + self.noise(x, state.key), state.gru, present)
        key = state.key.next()
        return y, DrawingState(gru, key if present is None else states.where(present, key, state.key))
