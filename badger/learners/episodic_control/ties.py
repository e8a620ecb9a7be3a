"""Ties between actions, broken at random: stored values are often exactly equal.

Shapes: B row, A action.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from badger.policies.policies import EpsilonGreedy
from experts.state import State


@dataclass(frozen=True)
class RandomTies:
    """Epsilon-greedy that chooses at random among the actions of the highest value.

    A store answers with values that it has seen, so that several actions are equally good or bad: the first one of
    them, always, would be repeated for ever.

    Args:
        policy: chooses by values; epsilon-greedy.
    """

    policy: EpsilonGreedy

    def __call__(
        self, output: Tensor, action_mask: Tensor | None, state: State, rng: torch.Generator
    ) -> tuple[Tensor, State]:
        allowed = output if action_mask is None else output.masked_fill(~action_mask, -torch.inf)
        rank = torch.rand(output.shape, generator=rng, device=rng.device, dtype=output.dtype)
        rank = torch.where(allowed == allowed.amax(-1, keepdim=True), rank + 1, rank)
        return self.policy(rank, action_mask, state, rng)
