"""Pruning of alpha vectors that are highest at no belief, by linear programs.

Shapes: K vector, S state.
"""

import math
import time
from typing import Any

import numpy as np

TOLERANCE = 1e-10  # of a linear program; relative to the largest number
SAMPLES = 128  # beliefs at which the highest vectors are found before any linear program


def prune(
    vectors: np.ndarray,
    tolerance: float | None = None,
    belief: np.ndarray | None = None,
    *,
    deadline: float = math.inf,
) -> np.ndarray:
    """The indices of the vectors that are highest at some belief, in ascending order (Lark's algorithm).

    Vectors that are highest at sampled beliefs are kept at once; of the others those that are below another vector, or
    below a mixture of two, are dropped; linear programs decide about the rest.

    Args:
        vectors: (K, S).
        tolerance: a vector that is higher than the others by no more may be dropped; None: by rounding errors.
        belief: (S,), at which the highest vector is kept in any case.
        deadline: a time of `time.monotonic` at which the work is given up.

    Raises:
        TimeoutError: the deadline has passed.
        ModuleNotFoundError: scipy, which solves the linear programs, is not installed.

    Source: White 1991; Cassandra, Littman and Zhang 1997, section 4.
    """
    tolerance = TOLERANCE * max(1.0, float(np.abs(vectors).max())) if tolerance is None else tolerance
    kept = _highest_at_samples(vectors, tolerance, belief)
    open_ = [k for k in _not_dominated(vectors, tolerance).tolist() if k not in set(kept)]
    while open_:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{len(open_)} of {len(vectors)} alpha vectors are not yet compared with the others")
        candidate = open_.pop()
        if below_a_mixture_of_two(vectors[candidate], vectors[kept], tolerance):
            continue
        belief, gain = best_advantage(vectors[candidate], vectors[kept])
        if gain > tolerance:
            rivals = np.array([*open_, candidate])
            values = vectors[rivals] @ belief
            tied = rivals[values >= values.max() - tolerance]
            winner = int(max(tied, key=lambda k: tuple(vectors[k])))  # of vectors that are equal here
            if winner != candidate:
                open_[open_.index(winner)] = candidate
            kept.append(winner)
    return np.array(sorted(kept))


def _highest_at_samples(vectors: np.ndarray, tolerance: float, belief: np.ndarray | None) -> list[int]:
    """Vectors that are highest at sampled beliefs, each by more than the tolerance above those found before."""
    size = vectors.shape[1]
    beliefs = np.random.default_rng(0).dirichlet(np.full(size, 1 / size**0.5), SAMPLES)
    values = (beliefs if belief is None else np.vstack([belief, beliefs])) @ vectors.T  # (samples, K)
    kept: list[int] = []
    for row in values:
        if not kept or row.max() > row[kept].max() + tolerance:
            kept.append(int(row.argmax()))
    return kept


def _not_dominated(vectors: np.ndarray, tolerance: float) -> np.ndarray:
    """The indices of vectors that are nowhere above a vector that is kept."""
    order = np.argsort(-vectors.sum(1), kind="stable")
    kept: list[int] = []
    for k in order.tolist():
        if not kept or not (vectors[kept] >= vectors[k] - tolerance).all(1).any():
            kept.append(k)
    return np.array(sorted(kept))


def below_a_mixture_of_two(vector: np.ndarray, others: np.ndarray, tolerance: float) -> bool:
    """Whether a mixture of two others is at least the vector in every state: of two states, whether it is dominated.

    Args:
        vector: (S,).
        others: (K, S).
        tolerance: by which the mixture may be lower.
    """
    above = others - vector + tolerance  # (K, S); wanted: p a_i + (1 - p) a_j >= 0 in each state
    first, second = above[:, None], above[None]
    difference = first - second
    with np.errstate(divide="ignore", invalid="ignore"):
        root = -second / difference  # p at which the mixture is 0
    low = np.where(difference > 0, root, 0).max(-1)
    high = np.where(difference < 0, root, 1).min(-1)
    possible = ((difference != 0) | (second >= 0)).all(-1)
    return bool((possible & (np.maximum(low, 0) <= np.minimum(high, 1))).any())


def best_advantage(vector: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, float]:
    """The belief at which a vector is most above, or least below, the others, and by how much.

    Args:
        vector: (S,).
        others: (K, S).

    Raises:
        ModuleNotFoundError: scipy is not installed.
        RuntimeError: the linear program has no solution, for numbers that are too large.
    """
    count, size = others.shape
    scale = max(1.0, float(np.abs(others - vector).max()))
    inequalities = np.hstack([(others - vector) / scale, np.ones((count, 1))])  # b . (others - vector) + gain <= 0
    result = _linear_programming()(
        np.append(np.zeros(size), -1.0),
        A_ub=inequalities,
        b_ub=np.zeros(count),
        A_eq=[[1.0] * size + [0.0]],
        b_eq=[1.0],
        bounds=[(0, 1)] * size + [(None, None)],
        method="highs-ds",
        options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
    )
    if result.status != 0:
        raise RuntimeError(f"a linear program of {count} vectors of {size} states has no solution: {result.message}")
    belief = np.maximum(result.x[:-1], 0)
    belief /= belief.sum()
    return belief, float(vector @ belief - (others @ belief).max())


def _linear_programming() -> Any:
    """`scipy.optimize.linprog`, by HiGHS."""
    try:
        from scipy.optimize import linprog
    except ModuleNotFoundError as error:
        message = f"{error}: exact solutions need linear programs; pip install 'badger-agents[planning]'"
        raise ModuleNotFoundError(message, name=error.name) from error
    return linprog
