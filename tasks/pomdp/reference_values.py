"""Expected discounted returns of simple policies in episodes of a number of steps, by dynamic programming.

Shapes: A action, S state.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from tasks.pomdp.model import PomdpModel


def reference_values(model: PomdpModel, steps: int) -> dict[str, float]:
    """Expected discounted returns from the start: chance, best blind, and state observed.

    `chance` takes random actions; `best blind` always takes the same action, the best one; `state observed` is an upper
    bound that no policy need reach: an optimal policy that observes the state.

    Args:
        model: the model.
        steps: the length of an episode.
    """
    blind = [_value(model, steps, partial(np.take, indices=a, axis=0)) for a in range(len(model.actions))]
    return {
        "chance": float(model.start @ _value(model, steps, partial(np.mean, axis=0))),
        "best blind": max(float(model.start @ value) for value in blind),
        "state observed": float(model.start @ _value(model, steps, partial(np.max, axis=0))),
    }


def _value(model: PomdpModel, steps: int, choose: Callable[[np.ndarray], Any]) -> np.ndarray:
    """The value of each state, (S,), where `choose` makes it of the values of the actions, (A, S)."""
    value = np.zeros(len(model.states))
    for _ in range(steps):
        value = choose(model.expected_reward + model.discount * model.transition @ value)
    return value
