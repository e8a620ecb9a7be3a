"""The worlds of memory in plain Python, one at a time, as one would write an environment by hand.

The rules are those of the tasks, whose docstrings have the sources. `reset()` gives an observation, `step(action)` an
observation, a reward, and whether the episode is over.
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


@runtime_checkable
class SingleEnv(Protocol):
    def reset(self) -> np.ndarray: ...

    def step(self, action: int) -> StepResult: ...


class PlainTMaze:
    def __init__(self, task: TMaze, rng: np.random.Generator):
        self.length, self.rng = task.length, rng
        self.cost = 1 / task.length if task.penalty is None else task.penalty

    def reset(self) -> np.ndarray:
        self.cue, self.x, self.y, self.t = 1 - 2 * int(self.rng.integers(2)), 0, 0, 0
        return np.array([0, self.cue], dtype=np.float32)

    def step(self, action: int) -> StepResult:
        right, up = ((1, 0), (0, 1), (-1, 0), (0, -1))[action]
        self.y = up if self.x == self.length else 0
        self.x = min(max(self.x + right, 0), self.length)
        self.t += 1
        over = self.t == self.length + 1
        reward = float(self.y == self.cue) if over else -self.cost * (self.x < self.t)
        return np.array([self.x == self.length, self.y], dtype=np.float32), reward, over


class PlainTMazeLong:
    def __init__(self, task: TMazeLong, rng: np.random.Generator):
        self.task, self.rng = task, rng

    def reset(self) -> np.ndarray:
        self.cue, self.t = 1 - 2 * int(self.rng.integers(2)), 0
        return self._seen()

    def step(self, action: int) -> StepResult:
        self.t += 1
        over = self.t == self.task.length
        reward = (4.0 if (action == 0) == (self.cue > 0) else -3.0) if over else 0.0
        return self._seen(), reward, over

    def _seen(self) -> np.ndarray:
        seen = [self.t == 0, self.cue * (self.t == 0), self.t >= self.task.length - 1]
        if self.task.noise:
            seen.append(1 - 2 * int(self.rng.integers(2)))
        return np.array(seen, dtype=np.float32)


class PlainCartPole:
    def __init__(self, task: CartPole, rng: np.random.Generator):
        self.task, self.rng = task, rng

    def reset(self) -> np.ndarray:
        self.motion, self.t = tuple(self.rng.uniform(-INIT_RANGE, INIT_RANGE, 4).tolist()), 0
        return self._seen()

    def step(self, action: int) -> StepResult:
        place, speed, angle, turning = self.motion
        push = FORCE_MAG if action else -FORCE_MAG
        cos, sin = math.cos(angle), math.sin(angle)
        pushed = (push + MASSPOLE * HALF_LENGTH * turning**2 * sin) / TOTAL_MASS
        spin = (GRAVITY * sin - cos * pushed) / (HALF_LENGTH * (4 / 3 - MASSPOLE * cos**2 / TOTAL_MASS))
        speeding = pushed - MASSPOLE * HALF_LENGTH * spin * cos / TOTAL_MASS
        place, angle = place + TAU * speed, angle + TAU * turning
        self.motion, self.t = (place, speed + TAU * speeding, angle, turning + TAU * spin), self.t + 1
        return self._seen(), 1.0, abs(place) > X_THRESHOLD or abs(angle) > THETA_THRESHOLD or self.t >= self.task.steps

    def _seen(self) -> np.ndarray:
        return np.array(self.motion if self.task.velocities else self.motion[::2], dtype=np.float32)


class PlainProofOfMemory:
    def __init__(self, task: ProofOfMemory, rng: np.random.Generator):
        self.task, self.rng = task, rng

    def reset(self) -> np.ndarray:
        self.place, self.good, self.t = int(self.rng.integers(-2, 3)), 1 - 2 * int(self.rng.integers(2)), 0
        return self._seen()

    def step(self, action: int) -> StepResult:
        walking = self.t >= self.task.shown
        self.place += (2 * action - 1) * walking
        self.t += 1
        if abs(self.place) == 5:
            return self._seen(), 1.6 if self.place * self.good > 0 else -1.6, True
        return self._seen(), -0.1 * walking, self.t >= self.task.steps

    def _seen(self) -> np.ndarray:
        worth = self.good if self.t <= self.task.shown else 0
        return np.array([-worth, self.place / 5, worth], dtype=np.float32)


class PlainCardGame:
    def __init__(self, task: CardGame, rng: np.random.Generator):
        self.cards, self.steps, self.rng = task.cards, task.steps, rng

    def reset(self) -> np.ndarray:
        self.faces = (self.rng.permutation(self.cards) // 2).tolist()
        self.up: list[int] = []
        self.taken, self.t = np.zeros(self.cards, dtype=bool), 0
        return self._seen()

    def step(self, action: int) -> StepResult:
        self.t, reward = self.t + 1, -1.0
        if len(self.up) == 2:
            self.up = []
        if not self.taken[action] and action not in self.up:
            self.up.append(action)
            if len(self.up) == 2 and self.faces[self.up[0]] == self.faces[action]:
                self.taken[self.up], reward = True, 2.0
        return self._seen(), reward, bool(self.taken.all()) or self.t >= self.steps

    def _seen(self) -> np.ndarray:
        half = self.cards // 2
        seen = np.zeros(4 * self.cards, dtype=np.float32)
        for slot, card in enumerate(self.up):
            at = slot * (self.cards + half)
            seen[at + card] = seen[at + self.cards + self.faces[card]] = 1
        seen[3 * self.cards :] = self.taken
        return seen


SINGLE_ENVS: dict[type, Callable[[Any, np.random.Generator], SingleEnv]] = {
    TMaze: PlainTMaze,
    TMazeLong: PlainTMazeLong,
    CartPole: PlainCartPole,
    ProofOfMemory: PlainProofOfMemory,
    CardGame: PlainCardGame,
}
"""Of a task, its world in plain Python."""


def random_rollout(world: SingleEnv, actions: np.ndarray) -> list[StepResult]:
    """What happens at these actions; after an end the world is opened again."""
    told = []
    world.reset()
    for action in actions.tolist():
        told.append(world.step(action))
        if told[-1][2]:
            world.reset()
    return told
