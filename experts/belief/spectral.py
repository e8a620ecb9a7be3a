"""Spectral learning of predictive state representations from recorded actions and observations.

Shapes: E episode, T step, A action, O observation, K number in the predictive state.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from experts.belief.psr_model import PSRModel
from experts.core import check_positive

LARGEST_TABLE = 10**8  # numbers in a table of tests and histories


def fit_psr(
    actions: np.ndarray,
    observations: np.ndarray,
    *,
    action_names: Sequence[str],
    observation_names: Sequence[str],
    length: int = 2,
    rank: int | None = None,
    action_probabilities: np.ndarray | None = None,
) -> PSRModel:
    """Fits a PSR to recorded steps by a singular value decomposition of the table of histories and tests.

    Histories and tests are all sequences of `length` steps that occur anywhere in an episode. With P_TH the
    frequencies of a history and a test after it, U its first singular vectors, and P_T,ao,H the same with action a and
    observation o in between, B_ao = U'P_T,ao,H (U'P_TH)^+. A frequency is divided by the probabilities of the actions
    of the test, as those of a test are given and not predicted. The first state is that of the starts of the episodes.

    Args:
        actions: (E, T), integers. Actions may be chosen by the observations only with `action_probabilities`.
        observations: (E, T), integers, each after the action of the same step.
        action_names: A names.
        observation_names: O names.
        length: number of steps in histories and tests.
        rank: K; None: the number of singular values above what sampling errors may be.
        action_probabilities: (E, T), with which each action was chosen; None: all actions alike.

    Raises:
        ValueError: arrays of other shapes or types, numbers out of range, episodes shorter than 2 x length + 1, tables
            beyond 10^8 numbers, or a rank that the data do not have.

    Source: Boots, Siddiqi and Gordon 2011, Closing the learning-planning loop with predictive state representations,
    section 3; Bowling et al. 2006, Learning predictive state representations using non-blind policies.
    """
    sizes = len(action_names), len(observation_names)
    _check_data(actions, observations, sizes, length)
    inverse = _inverse_probabilities(actions, action_probabilities, sizes[0])
    data = _windows(actions * sizes[1] + observations, inverse, sizes[0] * sizes[1], length)
    tests, histories, count = data.tests, data.histories, len(data.history)
    if sizes[0] * sizes[1] * tests * histories > LARGEST_TABLE:
        raise ValueError(
            f"length={length}: {tests} tests x {histories} histories x {sizes[0] * sizes[1]} steps between are more "
            f"than {LARGEST_TABLE:.0e} numbers; want a shorter length"
        )
    table = _table(data.test * histories + data.history, data.weight, (tests, histories)) / count
    u, values, v = np.linalg.svd(table, full_matrices=False)
    if rank is None:
        squares = _table(data.test * histories + data.history, data.weight**2, (tests, histories)) / count**2
        error = np.sqrt(squares.sum(0).max()) + np.sqrt(squares.sum(1).max())
        rank = max(1, int((values > error).sum()))
    if not 1 <= rank <= (values > 1e-12 * values[0]).sum():
        raise ValueError(
            f"rank={rank}, want 1 to {(values > 1e-12 * values[0]).sum()}, the rank of the table of histories and tests"
        )
    u, inverse_table = u[:, :rank], v[:rank].T / values[:rank]  # (U'P_TH)^+
    cells = (data.step * tests + data.later_test) * histories + data.history
    between = _table(cells, data.later_weight, (sizes[0] * sizes[1], tests, histories)) / count
    operators = (u.T @ between @ inverse_table).reshape(*sizes, rank, rank)
    normalizer = np.bincount(data.history, minlength=histories) / count @ inverse_table
    start = u.T @ _table(data.first_test, data.first_weight, (tests,))
    return PSRModel(
        tuple(action_names), tuple(observation_names), operators, normalizer, start / (normalizer @ start),
        least=count**-0.5,
    )  # fmt: skip


class _Windows(NamedTuple):
    """The windows of history, step and test in the data: indices of each part, and weights of the tests."""

    history: np.ndarray
    test: np.ndarray
    weight: np.ndarray
    step: np.ndarray
    later_test: np.ndarray
    later_weight: np.ndarray
    first_test: np.ndarray
    first_weight: np.ndarray
    tests: int
    histories: int


def _windows(events: np.ndarray, inverse: np.ndarray, kinds: int, length: int) -> _Windows:
    """inverse: 1 / probability of each action; kinds: number of different events."""
    steps = events.shape[1] - length + 1
    codes = sum(events[:, i : i + steps].astype(np.int64) * kinds ** (length - 1 - i) for i in range(length))
    weights = np.prod([inverse[:, i : i + steps] for i in range(length)], axis=0)
    history = codes[:, : -length - 1]
    found, index = np.unique(codes, return_inverse=True)
    index = index.reshape(codes.shape)
    seen, history_index = np.unique(history, return_inverse=True)
    between = slice(length, -length)
    return _Windows(
        history_index.reshape(-1), index[:, length:-1].reshape(-1), weights[:, length:-1].reshape(-1),
        events[:, between].reshape(-1), index[:, length + 1 :].reshape(-1),
        (weights[:, length + 1 :] * inverse[:, between]).reshape(-1), index[:, 0], weights[:, 0], len(found), len(seen),
    )  # fmt: skip


def _table(cells: np.ndarray, weights: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return np.bincount(cells, weights, int(np.prod(shape))).reshape(shape)


def _inverse_probabilities(actions: np.ndarray, probabilities: np.ndarray | None, kinds: int) -> np.ndarray:
    if probabilities is None:
        return np.full(actions.shape, float(kinds))
    if probabilities.shape != actions.shape:
        raise ValueError(f"action_probabilities {probabilities.shape}, want {actions.shape}, as actions")
    if not (np.isfinite(probabilities) & (probabilities > 0) & (probabilities <= 1)).all():
        raise ValueError(f"action_probabilities from {probabilities.min()} to {probabilities.max()}, want above 0 to 1")
    return 1 / probabilities


def _check_data(actions: np.ndarray, observations: np.ndarray, sizes: tuple[int, int], length: int) -> None:
    check_positive(length=length)
    if actions.ndim != 2 or actions.shape != observations.shape or not actions.size:
        raise ValueError(f"actions {actions.shape}, observations {observations.shape}, want the same (episodes, steps)")
    for name, array, size in zip(("actions", "observations"), (actions, observations), sizes, strict=True):
        if not np.issubdtype(array.dtype, np.integer):
            raise ValueError(f"{name} of {array.dtype}, want integers")
        if array.min() < 0 or array.max() >= size:
            raise ValueError(f"{name} from {array.min()} to {array.max()}, want 0 to {size - 1}, of {size} names")
    if actions.shape[1] < 2 * length + 1:
        raise ValueError(
            f"episodes of {actions.shape[1]} steps, want at least {2 * length + 1}: a history of {length} steps, a "
            f"step, and a test of {length}"
        )
    if (sizes[0] * sizes[1]) ** length >= 2**62:
        raise ValueError(f"length={length}, want a shorter one: tests are numbered by 62 bits")
