"""Exact value iteration by incremental pruning.

Shapes: A action, O observation, S state, K vector.
"""

import math
import time
from dataclasses import dataclass

import numpy as np

from badger.planning.alpha_vectors import AlphaVectors
from badger.planning.bounds import joint_probabilities
from badger.planning.pruning import prune
from tasks.pomdp import PomdpModel


@dataclass(frozen=True, eq=False)
class Plans(AlphaVectors):
    """Alpha vectors with the plan that each follows after each observation.

    Args:
        successors: (K, O), indices of the plans of the stage before, or of the nodes of a controller.
    """

    successors: np.ndarray


def incremental_pruning(model: PomdpModel, vectors: np.ndarray, *, deadline: float = math.inf) -> Plans:
    """One step of value iteration: the optimal plans of one more step, given the values of all plans that may follow.

    v_a = R_a + cross-sum over o of {discount x sum_s' T O v(s')}, in which the sums are pruned after each observation.

    Args:
        model: the model.
        vectors: (K, S), values of the plans that may follow.
        deadline: a time of `time.monotonic` at which the work is given up.

    Raises:
        TimeoutError: the deadline has passed.
        ModuleNotFoundError: scipy is not installed.

    Source: Cassandra, Littman and Zhang 1997, Incremental pruning.
    """
    joint = model.discount * joint_probabilities(model)
    parts = [_plans_of_action(model, a, joint[a] @ vectors.T, deadline) for a in range(len(model.actions))]
    values = np.concatenate([part.vectors for part in parts])
    kept = prune(values, deadline=deadline)
    actions, successors = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("actions", "successors")
    )
    return Plans(values[kept], actions[kept], successors[kept])


def _plans_of_action(model: PomdpModel, action: int, futures: np.ndarray, deadline: float) -> Plans:
    """The plans that begin with an action. futures: (O, S, K), the discounted value after each observation."""
    sums, chosen = model.expected_reward[action][None], np.zeros((1, 0), dtype=np.int64)
    for future in futures:
        plans = prune(future.T, deadline=deadline)
        candidates = (sums[:, None] + future.T[plans]).reshape(-1, sums.shape[1])
        pairs = [np.repeat(chosen, len(plans), 0), np.tile(plans, len(sums))[:, None]]
        kept = prune(candidates, deadline=deadline)
        sums, chosen = candidates[kept], np.hstack(pairs)[kept]
    return Plans(sums, np.full(len(sums), action), chosen)


def value_iteration(model: PomdpModel, horizon: int, *, seconds: float = math.inf) -> Plans:
    """Optimal plans of a number of steps; rewards after these do not count.

    Args:
        model: the model; its discount may be 1.
        horizon: number of steps.
        seconds: time after which the work is given up.

    Raises:
        TimeoutError: more time is needed.
        ValueError: horizon < 1.
        ModuleNotFoundError: scipy is not installed.
    """
    if horizon < 1:
        raise ValueError(f"horizon={horizon}, want at least 1")
    vectors, deadline = np.zeros((1, len(model.states))), time.monotonic() + seconds
    for step in range(horizon):
        try:
            plans = incremental_pruning(model, vectors, deadline=deadline)
        except TimeoutError as error:
            raise TimeoutError(
                f"seconds={seconds:g}: the plans of step {step + 1} of horizon={horizon} need more time ({error}); "
                "want more seconds, or fewer steps"
            ) from error
        vectors = plans.vectors
    return plans
