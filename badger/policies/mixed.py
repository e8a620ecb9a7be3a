"""Policies of choices beside real numbers: the product of a policy of each, given one output.

An output holds the logits of the choices, then means and log standard deviations of the numbers. Both parts are
independent given the output, so that log-probabilities and entropies add; an action mask is for the choices.

Shapes: ... any leading axes, A logits of all choices, k choices, D real numbers, N outputs behind the logits.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from experts.state import State
from tasks import Mixed


def split_output(output: Float[Tensor, "*B _"], space: Mixed) -> tuple[Float[Tensor, "*B A"], Float[Tensor, "*B N"]]:
    """The logits of the choices; and means and log standard deviations, with a value if there is one.

    Args:
        output: of the agent.
        space: the action space.
    """
    size = space.choices.size
    return output[..., :size], output[..., size:]


@dataclass(frozen=True)
class Product:
    """The product of a policy of the choices and one of the real numbers, whose state is that of the latter.

    Args:
        space: the action space.
        choices: a policy of `space.choices` without a state.
        numbers: a policy of `space.numbers`.
    """

    space: Mixed
    choices: Callable[..., tuple[Tensor, State]]
    numbers: Any

    def initial_state(self, like: Float[Tensor, "B *P"], rng: torch.Generator) -> State:
        """The state at the start of episodes.

        Args:
            like: gives batch, agents, device and dtype.
            rng: the generator.
        """
        make = getattr(self.numbers, "initial_state", None)
        return () if make is None else make(like, rng)

    def __call__(
        self, output: Tensor, action_mask: Bool[Tensor, "*B A"] | None, state: State, rng: torch.Generator
    ) -> tuple[Tensor, State]:
        logits, normal = split_output(output, self.space)
        choices, _ = self.choices(logits, action_mask, (), rng)
        numbers, state = self.numbers(normal, None, state, rng)
        return torch.cat([choices.to(numbers.dtype), numbers], -1), state

    def conditional_output(self, output: Float[Tensor, "*B _"], state: State) -> Float[Tensor, "*B _"]:
        """The output whose distribution the action was drawn from, given the state before it.

        Args:
            output: of the agent.
            state: of the policy before the action.
        """
        logits, normal = split_output(output, self.space)
        return torch.cat([logits, self.numbers.conditional_output(normal, state)], -1)
