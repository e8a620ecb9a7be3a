"""Predictive state representations (PSRs) as values, and the exact one of a known model.

Shapes: A action, O observation, S hidden state, K number in the predictive state.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from experts.belief.model import BeliefModel

INDEPENDENT = 1e-7
"""Relative distance from the span of other outcome vectors, beyond which one is independent of them."""


@dataclass(frozen=True, eq=False)
class PSRModel:
    """A linear predictive state representation (PSR): a state that holds predictions, and no hidden state.

    The probability of observation o after action a in the predictive state q is b_inf B_ao q, and the next state is
    q' = B_ao q / (b_inf B_ao q).

    Args:
        actions: their names.
        observations: their names.
        operators: B[a, o].
        normalizer: b_inf.
        start: the first predictive state, with b_inf q = 1.
        least: lowest probability of an observation whose operator is not 0; predictions of a fitted PSR are clipped.

    Raises:
        ValueError: arrays whose shapes do not fit each other, or numbers that are not finite.

    Source: Littman, Sutton and Singh 2002, Predictive representations of state.
    """

    actions: Sequence[str]
    observations: Sequence[str]
    operators: np.ndarray = field(repr=False)
    normalizer: np.ndarray = field(repr=False)
    start: np.ndarray = field(repr=False)
    least: float = 0.0

    def __post_init__(self) -> None:
        k = self.start.shape[-1] if self.start.ndim else 0
        shapes = {"operators": (len(self.actions), len(self.observations), k, k), "normalizer": (k,), "start": (k,)}
        for name, shape in shapes.items():
            array = getattr(self, name)
            if array.shape != shape:
                raise ValueError(f"{name} {array.shape}, want {shape}")
            if not np.isfinite(array).all():
                raise ValueError(f"{name} has a number that is not finite: {array[~np.isfinite(array)][0]}")


def exact_psr(model: BeliefModel) -> PSRModel:
    """The exact PSR of a known model, whose state holds the probabilities of core tests.

    A test is a sequence of actions and observations; its probability is that of the observations if the actions are
    taken. Its outcome vector has the probability from each hidden state. Core tests are a basis of all tests: the
    empty one, then, of all core tests extended by a step at their head, always the one whose outcome vector is
    farthest from the span of the others, until none is independent.

    Args:
        model: T, O and start.

    Source: Littman, Sutton and Singh 2002, section 3.
    """
    transition, observation, start = (
        np.asarray(getattr(model, name), dtype=np.float64) for name in ("transition", "observation", "start")
    )
    steps = transition[:, None] * observation.transpose(0, 2, 1)[:, :, None]  # P(s', o | s, a), (A, O, S, S')
    outcomes = np.ones((len(start), 1))  # of the empty test
    while True:
        basis, _ = np.linalg.qr(outcomes)
        extended = (steps @ outcomes).transpose(0, 1, 3, 2).reshape(-1, len(start))  # (A O K, S)
        lengths = np.linalg.norm(extended, axis=1)
        distances = np.linalg.norm(extended - extended @ basis @ basis.T, axis=1) / np.where(lengths > 0, lengths, 1)
        farthest = distances.argmax()
        if outcomes.shape[1] == len(start) or distances[farthest] < INDEPENDENT:
            break
        outcomes = np.column_stack([outcomes, extended[farthest]])
    weights = np.linalg.lstsq(outcomes, (steps @ outcomes).transpose(2, 0, 1, 3).reshape(len(start), -1), rcond=None)[0]
    k = outcomes.shape[1]
    operators = weights.reshape(k, *steps.shape[:2], k).transpose(1, 2, 3, 0)  # each extended test of the core tests
    first = start @ outcomes / start.sum()
    return PSRModel(tuple(model.actions), tuple(model.observations), operators, np.eye(k)[0], first)
