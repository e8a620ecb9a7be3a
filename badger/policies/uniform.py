"""Uniformly random actions, whatever the agent's output is: random walks, to be recorded and learned from."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from badger.policies.mixed import Product
from badger.policies.policies import Sampled
from experts.state import State
from tasks import ActionSpace, Continuous, Mixed


@dataclass(frozen=True)
class Uniform:
    """Policy of uniformly random allowed choices, and real numbers between their bounds.

    Where a bound is infinite, real numbers have a standard normal distribution, clipped to the other one.

    Args:
        space: the action space.
    """

    space: ActionSpace

    def __call__(
        self, output: Tensor, action_mask: Tensor | None, state: State, rng: torch.Generator
    ) -> tuple[Tensor, State]:
        space, lead = self.space, output.shape[:-1]
        if isinstance(space, Continuous):
            numbers = output.new_empty(*lead, space.size)
            if math.isfinite(space.high - space.low):
                return numbers.uniform_(space.low, space.high, generator=rng), state
            return numbers.normal_(generator=rng).clamp(space.low, space.high), state
        if isinstance(space, Mixed):
            both = Product(space, Uniform(space.choices), Uniform(space.numbers))
            return both(output.new_zeros(*lead, space.size), action_mask, state, rng)
        return Sampled(space)(output.new_zeros(*lead, space.size), action_mask, state, rng)
