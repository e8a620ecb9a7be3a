"""Distributions of episodes. One task a file."""

from collections.abc import Callable

from tasks.babi import BAbI
from tasks.babi_results import task_errors
from tasks.guessing_game import GuessingGame
from tasks.maze import Maze
from tasks.pooled_recall import PooledRecall
from tasks.repeat_previous import RepeatPrevious
from tasks.sequential_mnist import SequentialMNIST
from tasks.task import Action, Continuous, Discrete, MultiDiscrete, Path, Step, Task
from tasks.varied import Mixture, Parts, Ranges, Size, Varied, drawn, ends, nominal

TASKS: dict[str, Callable[..., Task]] = {
    "babi": BAbI,
    "guessing_game": GuessingGame,
    "maze": Maze,
    "pooled_recall": PooledRecall,
    "repeat_previous": RepeatPrevious,
    "sequential_mnist": SequentialMNIST,
}
"""Tasks by name; every one can be made without arguments."""

__all__ = [
    "TASKS",
    "Action",
    "BAbI",
    "Continuous",
    "Discrete",
    "GuessingGame",
    "Maze",
    "Mixture",
    "MultiDiscrete",
    "Parts",
    "Path",
    "PooledRecall",
    "Ranges",
    "RepeatPrevious",
    "SequentialMNIST",
    "Size",
    "Step",
    "Task",
    "Varied",
    "drawn",
    "ends",
    "nominal",
    "task_errors",
]
