"""Mazes for the references of plastic networks: one in plain Python, and a batch in NumPy arrays.

The rules are those of `tasks.Maze`, whose docstring has the sources. Shapes: B maze.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from tasks import Maze
from tasks.control.mazes.maze_tables import MOVES

Array = np.ndarray


class Mazes:
    """Base class of mazes: walls, free cells, and random cells. Observations are (B, 17).

    Args:
        task: sizes and inputs of the maze.
        rng: draws goals and cells.
    """

    def __init__(self, task: Maze, rng: np.random.Generator):
        self.task, self.rng, self.t = task, rng, 0
        self.unit = 1 / task.steps if task.relative_time else 1.0  # of the time input
        self.center = (task.size // 2, task.size // 2)
        self.walls = np.zeros((task.size, task.size), dtype=bool)
        self.walls[[0, -1]] = self.walls[:, [0, -1]] = self.walls[::2, ::2] = True
        self.walls[self.center] = False
        self.free = [(int(y), int(x)) for y, x in np.argwhere(~self.walls)]

    def random_cell(self, exclude: tuple[int, int]) -> tuple[int, int]:
        """A random free cell.

        Args:
            exclude: a cell that is not drawn.
        """
        while (cell := self.free[self.rng.integers(len(self.free))]) == exclude:
            pass
        return cell


class OneMaze(Mazes):
    """A single maze (B = 1) in plain Python.

    Args:
        task: sizes and inputs of the maze.
        rng: draws goals and cells.
    """

    def reset(self) -> Array:
        """Starts an episode; returns the observation (1, 17)."""
        self.position, self.goal, self.t = self.center, self.random_cell(self.center), 0
        return self._observe(None, 0.0)

    def step(self, action: Array) -> tuple[Array, Array]:
        """Returns observations (1, 17) and rewards (1,).

        Args:
            action: (1,), an index of `MOVES`.
        """
        self.t += 1
        move = int(action[0])
        target = (self.position[0] + MOVES[move][0], self.position[1] + MOVES[move][1])
        reward = 0.0
        if self.walls[target]:
            reward = -self.task.WALL_PENALTY
        elif target == self.goal:
            reward, self.position = self.task.GOAL_REWARD, self.random_cell(self.goal)
        else:
            self.position = target
        return self._observe(move, reward), np.array([reward], dtype=np.float32)

    def _observe(self, action: int | None, reward: float) -> Array:
        obs = np.zeros((1, 17), dtype=np.float32)
        y, x = self.position
        obs[0, :9] = self.walls[y - 1 : y + 2, x - 1 : x + 2].ravel()
        if self.task.observe_action and action is not None:
            obs[0, 9 + action] = 1
        obs[0, 14:] = reward, self.t * self.unit, 1
        return obs


class ManyMazes(Mazes):
    """A batch of mazes in NumPy arrays; the few that reach the goal in a step are handled in a loop.

    Args:
        task: sizes and inputs of the mazes.
        rng: draws goals and cells.
        batch: B.
    """

    def __init__(self, task: Maze, rng: np.random.Generator, *, batch: int):
        super().__init__(task, rng)
        self.batch, self.rows, self.moves = batch, np.arange(batch), np.array(MOVES)
        self.views = sliding_window_view(self.walls, (3, 3)).reshape(task.size - 2, task.size - 2, 9)

    def reset(self) -> Array:
        """Starts B episodes; returns observations (B, 17)."""
        self.position = np.array([self.center] * self.batch)
        self.goal = np.array([self.random_cell(self.center) for _ in self.rows])
        self.t = 0
        return self._observe(None, np.zeros(self.batch, dtype=np.float32))

    def step(self, action: Array) -> tuple[Array, Array]:
        """Returns observations (B, 17) and rewards (B,).

        Args:
            action: (B,), indices of `MOVES`.
        """
        self.t += 1
        target = self.position + self.moves[action]
        collided = self.walls[target[:, 0], target[:, 1]]
        self.position = np.where(collided[:, None], self.position, target)
        reached = (self.position == self.goal).all(1)
        for row in np.flatnonzero(reached):
            y, x = self.goal[row].tolist()
            self.position[row] = self.random_cell((y, x))
        reward = (self.task.GOAL_REWARD * reached - self.task.WALL_PENALTY * collided).astype(np.float32)
        return self._observe(action, reward), reward

    def _observe(self, action: Array | None, reward: Array) -> Array:
        obs = np.zeros((self.batch, 17), dtype=np.float32)
        obs[:, :9] = self.views[self.position[:, 0] - 1, self.position[:, 1] - 1]
        if self.task.observe_action and action is not None:
            obs[self.rows, 9 + action] = 1
        obs[:, 14], obs[:, 15], obs[:, 16] = reward, self.t * self.unit, 1
        return obs
