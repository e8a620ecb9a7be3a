"""The mazes of the plastic networks' references: one in plain Python, and many in NumPy arrays.

The rules are those of `tasks.Maze`, whose docstring has the sources. Shapes: B maze.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from tasks import Maze
from tasks.control.maze_tables import MOVES

Array = np.ndarray


class Mazes:
    """What both have in common: walls, free cells, chance. Observations are (B, 17).

    Args:
        task: whose sizes and inputs they have.
    """

    def __init__(self, task: Maze, rng: np.random.Generator):
        self.task, self.rng, self.t = task, rng, 0
        self.unit = 1 / task.steps if task.relative_time else 1.0  # of the time
        self.centre = (task.size // 2, task.size // 2)
        self.walls = np.zeros((task.size, task.size), dtype=bool)
        self.walls[[0, -1]] = self.walls[:, [0, -1]] = self.walls[::2, ::2] = True
        self.walls[self.centre] = False
        self.free = [(int(y), int(x)) for y, x in np.argwhere(~self.walls)]

    def elsewhere(self, place: tuple[int, int]) -> tuple[int, int]:
        """A random free cell, but not this one."""
        while (found := self.free[self.rng.integers(len(self.free))]) == place:
            pass
        return found


class OneMaze(Mazes):
    """B = 1, cell by cell."""

    def reset(self) -> Array:
        self.place, self.goal, self.t = self.centre, self.elsewhere(self.centre), 0
        return self._seen(None, 0.0)

    def step(self, action: Array) -> tuple[Array, Array]:
        """Observations (1, 17) and rewards (1,)."""
        self.t += 1
        chosen = int(action[0])
        there = (self.place[0] + MOVES[chosen][0], self.place[1] + MOVES[chosen][1])
        reward = 0.0
        if self.walls[there]:
            reward = -self.task.WALL_PENALTY
        elif there == self.goal:
            reward, self.place = self.task.GOAL_REWARD, self.elsewhere(self.goal)
        else:
            self.place = there
        return self._seen(chosen, reward), np.array([reward], dtype=np.float32)

    def _seen(self, action: int | None, reward: float) -> Array:
        obs = np.zeros((1, 17), dtype=np.float32)
        y, x = self.place
        obs[0, :9] = self.walls[y - 1 : y + 2, x - 1 : x + 2].ravel()
        if self.task.observe_action and action is not None:
            obs[0, 9 + action] = 1
        obs[0, 14:] = reward, self.t * self.unit, 1
        return obs


class ManyMazes(Mazes):
    """All rows at once, but for those few that reach the goal in a step."""

    def __init__(self, task: Maze, rng: np.random.Generator, *, batch: int):
        super().__init__(task, rng)
        self.batch, self.rows, self.moves = batch, np.arange(batch), np.array(MOVES)
        self.views = sliding_window_view(self.walls, (3, 3)).reshape(task.size - 2, task.size - 2, 9)

    def reset(self) -> Array:
        self.place = np.array([self.centre] * self.batch)
        self.goal = np.array([self.elsewhere(self.centre) for _ in self.rows])
        self.t = 0
        return self._seen(None, np.zeros(self.batch, dtype=np.float32))

    def step(self, action: Array) -> tuple[Array, Array]:
        """Observations (B, 17) and rewards (B,)."""
        self.t += 1
        there = self.place + self.moves[action]
        bumped = self.walls[there[:, 0], there[:, 1]]
        self.place = np.where(bumped[:, None], self.place, there)
        reached = (self.place == self.goal).all(1)
        for row in np.flatnonzero(reached):
            y, x = self.goal[row].tolist()
            self.place[row] = self.elsewhere((y, x))
        reward = (self.task.GOAL_REWARD * reached - self.task.WALL_PENALTY * bumped).astype(np.float32)
        return self._seen(action, reward), reward

    def _seen(self, action: Array | None, reward: Array) -> Array:
        obs = np.zeros((self.batch, 17), dtype=np.float32)
        obs[:, :9] = self.views[self.place[:, 0] - 1, self.place[:, 1] - 1]
        if self.task.observe_action and action is not None:
            obs[self.rows, 9 + action] = 1
        obs[:, 14], obs[:, 15], obs[:, 16] = reward, self.t * self.unit, 1
        return obs
