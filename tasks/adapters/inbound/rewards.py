"""Rewards of external environments as numbers. This module also runs in worker processes; it does not import torch."""

from numbers import Real
from typing import Any

import numpy as np

LARGEST = float(np.finfo(np.float32).max)
USUAL = frozenset({float, int, np.float64, np.float32})  # types of nearly all rewards


class InvalidReward(ValueError):
    """A reward that is no finite number.

    Args:
        message: says which.
        agent: the agent that received it, in an environment of several agents.
    """

    def __init__(self, message: str, *, agent: Any = None):
        super().__init__(message)
        self.agent = agent


def as_number(reward: Any, *, agent: Any = None) -> float:
    """A reward as a number: a Python or NumPy number, or an array with one element.

    Args:
        reward: that an environment returned.
        agent: that received it, in an environment of several agents.

    Raises:
        InvalidReward: another type, several numbers, NaN, infinity, or a number beyond the range of float32.
    """
    if type(reward) in USUAL and -LARGEST <= reward <= LARGEST:
        return float(reward)
    number = reward.item() if isinstance(reward, np.ndarray | np.generic) and reward.size == 1 else reward
    owner = "" if agent is None else f" for agent {agent!r}"
    got = f"returned the reward {reward!r}{owner}"
    if not isinstance(number, Real):
        several = "" if agent is not None or np.size(number) < 2 else "; of several agents, see badger train pettingzoo"
        raise InvalidReward(f"{got}, want one number{several}", agent=agent)
    value = float(number)
    if not np.isfinite(value):
        raise InvalidReward(f"{got}, want a finite number", agent=agent)
    if abs(value) > LARGEST:
        raise InvalidReward(f"{got}, want at most {LARGEST:.3g}, the largest number of float32", agent=agent)
    return value
