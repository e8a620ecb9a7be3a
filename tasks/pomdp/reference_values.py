"""Expected discounted returns of simple policies in episodes of a number of steps, by dynamic programming.

Shapes: A action, S state.
"""

from collections.abc import Callable

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
    return {
        "chance": float(model.start @ _value(model, steps, lambda q: q.mean(0))),
        "best blind": max(float(model.start @ _value(model, steps, lambda q, a=a: q[a])) for a in _actions(model)),
        "state observed": float(model.start @ _value(model, steps, lambda q: q.max(0))),
    }


def _actions(model: PomdpModel) -> range:
    return range(len(model.actions))


def _value(model: PomdpModel, steps: int, choose: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """The value of each state, (S,), where `choose` makes it of the values of the actions, (A, S)."""
    value = np.zeros(len(model.states))
    for _ in range(steps):
        value = choose(model.expected_reward + model.discount * model.transition @ value)
    return value
