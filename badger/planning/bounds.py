"""Fast bounds of the optimal value: QMDP and the fast informed bound from above, the best blind policy from below.

Shapes: A action, O observation, S state.
"""

import math
from collections.abc import Callable

import numpy as np

from badger.planning.alpha_vectors import AlphaVectors
from tasks.pomdp import PomdpModel

PRECISION = 1e-10


def qmdp(model: PomdpModel, precision: float = PRECISION) -> AlphaVectors:
    """The QMDP bound: optimal action values of the states, as if the state were observed after the next step.

    An upper bound. Its policy never acts to gain information.

    Args:
        model: with a discount below 1.
        precision: largest error of a value.

    Raises:
        ValueError: a discount of 1.

    Source: Littman, Cassandra and Kaelbling 1995, Learning policies for partially observable environments.
    """
    return _fixed_point(model, precision, lambda q: model.transition @ q.max(0))


def fast_informed_bound(model: PomdpModel, precision: float = PRECISION) -> AlphaVectors:
    """The fast informed bound (FIB): as if the last state were observed, after the next observation.

    An upper bound, at most that of QMDP.

    Args:
        model: with a discount below 1.
        precision: largest error of a value.

    Raises:
        ValueError: a discount of 1.

    Source: Hauskrecht 2000, Value-function approximations for partially observable Markov decision processes.
    """
    joint = joint_probabilities(model)
    return _fixed_point(model, precision, lambda q: (joint @ q.T).max(-1).sum(1))


def best_blind(model: PomdpModel) -> AlphaVectors:
    """The values of blind policies, each of which always takes the same action: a lower bound.

    Args:
        model: with a discount below 1.

    Raises:
        ValueError: a discount of 1.

    Source: Hauskrecht 1997, Incremental methods for computing bounds in partially observable Markov decision processes.
    """
    check_discount(model)
    identity = np.eye(len(model.states))
    vectors = np.linalg.solve(identity - model.discount * model.transition, model.expected_reward[..., None])
    return AlphaVectors(vectors[..., 0], np.arange(len(model.actions)))


def joint_probabilities(model: PomdpModel) -> np.ndarray:
    """P(s', o | s, a) as an array (A, O, S, S').

    Args:
        model: the model.
    """
    return model.transition[:, None] * model.observation.transpose(0, 2, 1)[:, :, None]


def check_discount(model: PomdpModel) -> None:
    """Raises ValueError for a discount of 1, with which a value over infinitely many steps need not exist.

    Args:
        model: the model.

    Raises:
        ValueError: a discount of 1.
    """
    if model.discount == 1:
        raise ValueError("discount=1, want a discount below 1, or a finite horizon: value_iteration(model, horizon=4)")


def _fixed_point(model: PomdpModel, precision: float, continuation: Callable[[np.ndarray], np.ndarray]) -> AlphaVectors:
    """Iterates q = r + discount x continuation(q), of action values (A, S), from above, until it is precise."""
    check_discount(model)
    if not precision > 0:
        raise ValueError(f"precision={precision}, want a number above 0")
    discount, reward = model.discount, model.expected_reward
    q = np.full_like(reward, reward.max() / (1 - discount))
    scale = max(1.0, float(np.abs(q).max(initial=np.abs(reward).max() / (1 - discount))))
    change, least = math.inf, 1e-15 * scale  # rounding errors
    while change > max(least, precision * (1 - discount) / max(discount, precision)):
        new = reward + discount * continuation(q)
        change, q = float(np.abs(new - q).max()), new
    return AlphaVectors(q, np.arange(len(model.actions)))
