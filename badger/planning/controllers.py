"""Policy iteration of finite-state controllers, for an optimal policy over infinitely many steps.

Shapes: O observation, S state, K node.
"""

import math
import time
from dataclasses import dataclass

import numpy as np

from badger.planning.alpha_vectors import AlphaVectors
from badger.planning.bounds import best_blind, check_discount, joint_probabilities
from badger.planning.exact import Plans, incremental_pruning
from badger.planning.pruning import prune
from tasks.pomdp import PomdpModel


@dataclass(frozen=True)
class Solution:
    """A policy and the error of its values.

    Args:
        plans: the alpha vectors.
        error: at most so much is any value below the optimal one.
        iterations: that were made.
    """

    plans: AlphaVectors
    error: float
    iterations: int


def policy_iteration(model: PomdpModel, precision: float = 1e-9, *, seconds: float = math.inf) -> Solution:
    """The optimal policy over infinitely many steps: policy iteration of a finite-state controller.

    Each iteration computes the exact values of a controller, improves it by `incremental_pruning`, and bounds the error
    by the largest change of a value. Where an optimal controller is finite it is found.

    Args:
        model: with a discount below 1.
        precision: largest error of a value.
        seconds: time after which the best policy so far is returned.

    Raises:
        ValueError: a discount of 1, or a precision that is not above 0.
        ModuleNotFoundError: scipy is not installed.

    Source: Hansen 1998, Solving POMDPs by searching in policy space.
    """
    check_discount(model)
    if not precision > 0:
        raise ValueError(f"precision={precision}, want a number above 0")
    deadline, error, iterations = time.monotonic() + seconds, math.inf, 0
    blind, observations = best_blind(model), len(model.observations)
    nodes = Plans(blind.vectors, blind.actions, np.repeat(np.arange(len(blind))[:, None], observations, 1))
    while True:
        try:
            improved = incremental_pruning(model, nodes.vectors, deadline=deadline)
        except TimeoutError:
            return Solution(nodes, error, iterations)
        iterations += 1
        change = _largest_gain(improved.vectors, nodes.vectors)
        error = change * model.discount / (1 - model.discount)
        if error <= precision / 2:
            return Solution(improved.select(prune(improved.vectors, precision / 2, model.start)), error, iterations)
        nodes = _evaluated(model, _merged(nodes, improved))


def _largest_gain(new: np.ndarray, old: np.ndarray) -> float:
    """An upper bound of the largest gain over all beliefs."""
    return max(0.0, float((new[:, None] - old[None]).max(-1).min(-1).max()))


def _merged(nodes: Plans, improved: Plans) -> Plans:
    """The controller with improved nodes: they replace those that they dominate, and are added where there are none."""
    actions, successors = nodes.actions.tolist(), nodes.successors.tolist()
    vectors = nodes.vectors.tolist()
    existing = {(a, *s): k for k, (a, s) in enumerate(zip(actions, successors, strict=True))}
    target = np.arange(len(actions))  # where a node that was replaced went
    roots = []
    for action, following, vector in zip(improved.actions, improved.successors, improved.vectors, strict=True):
        key = (int(action), *map(int, following))
        if key in existing:
            roots.append(existing[key])
            continue
        roots.append(len(actions))
        for k in range(len(nodes)):
            if target[k] == k and (vector >= nodes.vectors[k]).all() and k not in roots:
                target[k] = len(actions)
        actions.append(key[0])
        successors.append(list(key[1:]))
        vectors.append(vector.tolist())
    target = np.concatenate([target, np.arange(len(nodes), len(actions))])
    redirected = target[np.array(successors)]
    used = _reachable(np.unique(target[roots]), redirected)
    position = np.zeros(len(actions), dtype=np.int64)
    position[used] = np.arange(len(used))
    return Plans(np.array(vectors)[used], np.array(actions)[used], position[redirected[used]])


def _reachable(roots: np.ndarray, successors: np.ndarray) -> np.ndarray:
    """All nodes that are reached from the roots, in ascending order."""
    found = set(roots.tolist())
    border = list(found)
    while border:
        new = set(successors[border.pop()].tolist()) - found
        found |= new
        border.extend(new)
    return np.array(sorted(found))


def _evaluated(model: PomdpModel, controller: Plans) -> Plans:
    """The controller with its exact values: v = R_a + discount x sum_o T O v_successor, a linear system."""
    count, size = controller.vectors.shape
    joint = model.discount * joint_probabilities(model)
    system = np.eye(count * size).reshape(count, size, count, size)
    for k, (action, following) in enumerate(zip(controller.actions, controller.successors, strict=True)):
        for o, after in enumerate(following):
            system[k, :, after] -= joint[action, o]
    reward = model.expected_reward[controller.actions].reshape(-1)
    vectors = np.linalg.solve(system.reshape(count * size, -1), reward).reshape(count, size)
    return Plans(vectors, controller.actions, controller.successors)
