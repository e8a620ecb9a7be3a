"""Distributions of episodes. One task a file."""

from collections.abc import Callable

from tasks.associative_recall import AssociativeRecall
from tasks.babi import BAbI
from tasks.babi_results import task_errors
from tasks.cart_pole import CartPole
from tasks.copying import Copy, DoubleCopy
from tasks.dictionary_inference import DictionaryInference
from tasks.guessing_game import GuessingGame
from tasks.maze import Maze
from tasks.pooled_recall import PooledRecall
from tasks.priority_sort import PrioritySort
from tasks.repeat_previous import RepeatPrevious
from tasks.sequences import Sequences, SequenceState
from tasks.sequential_mnist import SequentialMNIST
from tasks.t_maze import TMaze
from tasks.task import Action, Continuous, Discrete, MultiDiscrete, Path, Step, Task, changeable
from tasks.varied import Mixture, Parts, Ranges, Size, Varied, drawn, ends, nominal

TASKS: dict[str, Callable[..., Task]] = {
    "babi": BAbI,
    "guessing_game": GuessingGame,
    "maze": Maze,
    "pooled_recall": PooledRecall,
    "repeat_previous": RepeatPrevious,
    "sequential_mnist": SequentialMNIST,
    "cart_pole": CartPole,
    "associative_recall": AssociativeRecall,
    "copy": Copy,
    "dictionary_inference": DictionaryInference,
    "double_copy": DoubleCopy,
    "priority_sort": PrioritySort,
    "t_maze": TMaze,
}
"""Tasks by name; every one can be made without arguments."""

__all__ = [
    "TASKS",
    "Action",
    "AssociativeRecall",
    "BAbI",
    "CartPole",
    "Continuous",
    "Copy",
    "DictionaryInference",
    "Discrete",
    "DoubleCopy",
    "GuessingGame",
    "Maze",
    "Mixture",
    "MultiDiscrete",
    "Parts",
    "Path",
    "PooledRecall",
    "PrioritySort",
    "Ranges",
    "RepeatPrevious",
    "SequenceState",
    "Sequences",
    "SequentialMNIST",
    "Size",
    "Step",
    "TMaze",
    "Task",
    "Varied",
    "changeable",
    "drawn",
    "ends",
    "nominal",
    "task_errors",
]
