"""Single environments in plain Python, with the rules of the tasks of this library.

The docstrings of the tasks have the sources. `reset()` returns an observation, `step(action)` an observation, a reward,
and whether the episode is done.
"""

import math
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import numpy as np

from tasks import CardGame, CartPole, ProofOfMemory, TMaze, TMazeLong
from tasks.control.cart_pole import (
    FORCE_MAG,
    GRAVITY,
    HALF_LENGTH,
    INIT_RANGE,
    MASSPOLE,
    TAU,
    THETA_THRESHOLD,
    TOTAL_MASS,
    X_THRESHOLD,
)

StepResult = tuple[np.ndarray, float, bool]
"""Observation, reward, and whether the episode is done."""


@runtime_checkable
class SingleEnv(Protocol):
    """Interface of a single environment."""

    def reset(self) -> np.ndarray:
        """Starts an episode; returns the first observation."""

    def step(self, action: int) -> StepResult:
        """Takes an action.

        Args:
            action: its index.
        """


class PlainTMaze:
    """`TMaze` as a single environment.

    Args:
        task: its sizes.
        rng: draws episodes.
    """

    def __init__(self, task: TMaze, rng: np.random.Generator):
        self.length, self.rng = task.length, rng
        self.cost = 1 / task.length if task.penalty is None else task.penalty

    def reset(self) -> np.ndarray:
        self.cue, self.x, self.y, self.t = 1 - 2 * int(self.rng.integers(2)), 0, 0, 0
        return np.array([0, self.cue], dtype=np.float32)

    def step(self, action: int) -> StepResult:
        dx, dy = ((1, 0), (0, 1), (-1, 0), (0, -1))[action]
        self.y = dy if self.x == self.length else 0
        self.x = min(max(self.x + dx, 0), self.length)
        self.t += 1
        done = self.t == self.length + 1
        reward = float(self.y == self.cue) if done else -self.cost * (self.x < self.t)
        return np.array([self.x == self.length, self.y], dtype=np.float32), reward, done


class PlainTMazeLong:
    """`TMazeLong` as a single environment.

    Args:
        task: its sizes.
        rng: draws episodes.
    """

    def __init__(self, task: TMazeLong, rng: np.random.Generator):
        self.task, self.rng = task, rng

    def reset(self) -> np.ndarray:
        self.cue, self.t = 1 - 2 * int(self.rng.integers(2)), 0
        return self._observe()

    def step(self, action: int) -> StepResult:
        self.t += 1
        done = self.t == self.task.steps
        reward = (4.0 if (action == 0) == (self.cue > 0) else -3.0) if done else 0.0
        return self._observe(), reward, done

    def _observe(self) -> np.ndarray:
        obs = [self.t == 0, self.cue * (self.t == 0), self.t >= self.task.steps - 1]
        if self.task.noise:
            obs.append(1 - 2 * int(self.rng.integers(2)))
        return np.array(obs, dtype=np.float32)


class PlainCartPole:
    """`CartPole` as a single environment.

    Args:
        task: its sizes.
        rng: draws episodes.
    """

    def __init__(self, task: CartPole, rng: np.random.Generator):
        self.task, self.rng = task, rng

    def reset(self) -> np.ndarray:
        self.motion, self.t = tuple(self.rng.uniform(-INIT_RANGE, INIT_RANGE, 4).tolist()), 0
        return self._observe()

    def step(self, action: int) -> StepResult:
        x, x_dot, theta, theta_dot = self.motion
        force = FORCE_MAG if action else -FORCE_MAG
        cos, sin = math.cos(theta), math.sin(theta)
        temp = (force + MASSPOLE * HALF_LENGTH * theta_dot**2 * sin) / TOTAL_MASS
        theta_acc = (GRAVITY * sin - cos * temp) / (HALF_LENGTH * (4 / 3 - MASSPOLE * cos**2 / TOTAL_MASS))
        x_acc = temp - MASSPOLE * HALF_LENGTH * theta_acc * cos / TOTAL_MASS
        x, theta = x + TAU * x_dot, theta + TAU * theta_dot
        self.motion, self.t = (x, x_dot + TAU * x_acc, theta, theta_dot + TAU * theta_acc), self.t + 1
        done = abs(x) > X_THRESHOLD or abs(theta) > THETA_THRESHOLD or self.t >= self.task.steps
        return self._observe(), 1.0, done

    def _observe(self) -> np.ndarray:
        return np.array(self.motion if self.task.velocities else self.motion[::2], dtype=np.float32)


class PlainProofOfMemory:
    """`ProofOfMemory` as a single environment.

    Args:
        task: its sizes.
        rng: draws episodes.
    """

    def __init__(self, task: ProofOfMemory, rng: np.random.Generator):
        self.task, self.rng = task, rng

    def reset(self) -> np.ndarray:
        self.position, self.good_side, self.t = int(self.rng.integers(-2, 3)), 1 - 2 * int(self.rng.integers(2)), 0
        return self._observe()

    def step(self, action: int) -> StepResult:
        moving = self.t >= self.task.shown
        self.position += (2 * action - 1) * moving
        self.t += 1
        if abs(self.position) == 5:
            return self._observe(), 1.6 if self.position * self.good_side > 0 else -1.6, True
        return self._observe(), -0.1 * moving, self.t >= self.task.steps

    def _observe(self) -> np.ndarray:
        cue = self.good_side if self.t <= self.task.shown else 0
        return np.array([-cue, self.position / 5, cue], dtype=np.float32)


class PlainCardGame:
    """`CardGame` as a single environment.

    Args:
        task: its sizes.
        rng: draws episodes.
    """

    def __init__(self, task: CardGame, rng: np.random.Generator):
        self.cards, self.steps, self.rng = task.cards, task.steps, rng

    def reset(self) -> np.ndarray:
        self.faces = (self.rng.permutation(self.cards) // 2).tolist()
        self.up: list[int] = []
        self.taken, self.t = np.zeros(self.cards, dtype=bool), 0
        return self._observe()

    def step(self, action: int) -> StepResult:
        self.t, reward = self.t + 1, -1.0
        if len(self.up) == 2:
            self.up = []
        if not self.taken[action] and action not in self.up:
            self.up.append(action)
            if len(self.up) == 2 and self.faces[self.up[0]] == self.faces[action]:
                self.taken[self.up], reward = True, 2.0
        return self._observe(), reward, bool(self.taken.all()) or self.t >= self.steps

    def _observe(self) -> np.ndarray:
        half = self.cards // 2
        obs = np.zeros(4 * self.cards, dtype=np.float32)
        for slot, card in enumerate(self.up):
            offset = slot * (self.cards + half)
            obs[offset + card] = obs[offset + self.cards + self.faces[card]] = 1
        obs[3 * self.cards :] = self.taken
        return obs


SINGLE_ENVS: dict[type, Callable[[Any, np.random.Generator], SingleEnv]] = {
    TMaze: PlainTMaze,
    TMazeLong: PlainTMazeLong,
    CartPole: PlainCartPole,
    ProofOfMemory: PlainProofOfMemory,
    CardGame: PlainCardGame,
}
"""The class of the single environment for each task."""


def random_rollout(env: SingleEnv, actions: np.ndarray) -> list[StepResult]:
    """Steps an environment with given actions and resets it when an episode is done.

    Args:
        env: the environment.
        actions: (T,) action indices.
    """
    steps = []
    env.reset()
    for action in actions.tolist():
        steps.append(env.step(action))
        if steps[-1][2]:
            env.reset()
    return steps
