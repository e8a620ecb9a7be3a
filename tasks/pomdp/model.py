"""A partially observed Markov decision process as a value: named states, actions and observations, and arrays.

Shapes: A action, S state, O observation.
"""

import re
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

TOLERANCE = 1e-5  # of the sum of a distribution: files have 0.333333
NAME = r"[A-Za-z][A-Za-z0-9_-]*"
KEYWORDS = frozenset(
    {
        "discount", "values", "states", "actions", "observations", "start", "include", "exclude", "T", "O", "R",
        "uniform", "identity", "reset", "reward", "cost",
    }
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class PomdpModel:
    """A partially observed Markov decision process (POMDP): T, O and R as arrays in float64, with names.

    The arrays are not writeable. Two models are equal if all their names and numbers are.

    Args:
        states: names of the states; numbers from 0 on, as strings, for states without names.
        actions: names of the actions.
        observations: names of the observations.
        discount: of a step's reward, 0 to 1.
        transition: T[a, s, s'], the probability of s' after action a in s.
        observation: O[a, s', o], the probability of observation o after action a that has led to s'.
        reward: R[a, s, s', o]; axes on which it does not depend may be 1 long, and are expanded without a copy.
        start: the distribution of the first state.

    Raises:
        ValueError: arrays of other shapes, numbers that are not finite, a negative probability, or a distribution that
            does not sum to 1 within 1e-5, with the state, action and sum.

    Source: Kaelbling, Littman and Cassandra 1998, Planning and acting in partially observable stochastic domains.
    """

    states: tuple[str, ...]
    actions: tuple[str, ...]
    observations: tuple[str, ...]
    discount: float
    transition: np.ndarray = field(repr=False)
    observation: np.ndarray = field(repr=False)
    reward: np.ndarray = field(repr=False)
    start: np.ndarray = field(repr=False)

    def __post_init__(self) -> None:
        for kind in ("states", "actions", "observations"):
            object.__setattr__(self, kind, tuple(getattr(self, kind)))
            check_names(kind, getattr(self, kind))
        if not 0 <= self.discount <= 1:
            raise ValueError(f"discount={self.discount}, want a number from 0 to 1")
        a, s, o = len(self.actions), len(self.states), len(self.observations)
        shapes = {"transition": (a, s, s), "observation": (a, s, o), "reward": (a, s, s, o), "start": (s,)}
        for name, shape in shapes.items():
            object.__setattr__(self, name, _frozen(name, getattr(self, name), shape))
        for place, table in (("T", self.transition), ("O", self.observation), ("start", self.start.reshape(1, 1, -1))):
            found = first_wrong_row(table)
            if found is not None:
                row = "" if place == "start" else f": {self.actions[found[0]]} : {self.states[found[1]]}"
                raise ValueError(f"{place}{row} {found[2]}")

    @cached_property
    def expected_reward(self) -> np.ndarray:
        """The mean reward of an action in a state, (A, S), over the next state and its observation."""
        means = [
            np.einsum("st,to,sto->s", t, o, r, optimize=True)
            for t, o, r in zip(self.transition, self.observation, self.reward, strict=True)
        ]
        return np.stack(means)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PomdpModel):
            return NotImplemented
        same = all(
            getattr(self, name) == getattr(other, name) for name in ("states", "actions", "observations", "discount")
        )
        arrays = ("transition", "observation", "reward", "start")
        return same and all(np.array_equal(getattr(self, name), getattr(other, name)) for name in arrays)

    def __hash__(self) -> int:
        return hash((self.states, self.actions, self.observations, self.discount))


def _frozen(name: str, array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A copy that cannot be written; of a reward, its axes of length 1 are expanded."""
    copied = np.array(array, dtype=np.float64)
    expandable = name == "reward" and copied.ndim == len(shape)
    fits = copied.shape == shape or (
        expandable and all(n in (1, full) for n, full in zip(copied.shape, shape, strict=True))
    )
    if not fits:
        raise ValueError(f"{name} {copied.shape}, want {shape}")
    if not np.isfinite(copied).all():
        raise ValueError(f"{name} has a number that is not finite: {copied[~np.isfinite(copied)][0]}")
    copied.flags.writeable = False
    return np.broadcast_to(copied, shape)


def check_names(kind: str, names: tuple[str, ...]) -> None:
    """Checks that names can be written to a file: numbers from 0 on, or different words.

    Args:
        kind: states, actions or observations, for the message.
        names: of them.

    Raises:
        ValueError: no name, one that is given twice, or one that a file cannot hold.
    """
    if not names:
        raise ValueError(f"{kind}: none, want at least 1")
    if names == tuple(map(str, range(len(names)))):
        return
    for i, name in enumerate(names):
        if not re.fullmatch(NAME, name) or name in KEYWORDS:
            raise ValueError(
                f"{kind}: got the name {name!r}, want a letter, then letters, digits, _ and -, and none of the words "
                f"of the format ({', '.join(sorted(KEYWORDS))})"
            )
        if name in names[:i]:
            raise ValueError(f"{kind}: {name!r} is there twice, want different names")


def first_wrong_row(table: np.ndarray) -> tuple[int, int, str] | None:
    """The first row that is no distribution: action, state and what is wrong; None if there is none.

    Args:
        table: (A, S, ...), distributions over the last axis.
    """
    sums, least = table.sum(-1), table.min(-1)
    wrong = np.argwhere((least < 0) | (np.abs(sums - 1) > TOLERANCE))
    if not len(wrong):
        return None
    a, s = wrong[0].tolist()
    if least[a, s] < 0:
        return a, s, f"has the probability {least[a, s]:g}, want 0 to 1"
    return a, s, f"sums to {sums[a, s]:.6g}, want 1 within {TOLERANCE:g}"
