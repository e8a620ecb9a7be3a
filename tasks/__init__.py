"""Distributions of episodes. One task a file."""

from collections.abc import Callable

from tasks.associative_recall import AssociativeRecall
from tasks.copying import Copy, DoubleCopy
from tasks.dictionary_inference import DictionaryInference
from tasks.guessing_game import GuessingGame
from tasks.pooled_recall import PooledRecall
from tasks.priority_sort import PrioritySort
from tasks.repeat_previous import RepeatPrevious
from tasks.sequences import Sequences, SequenceState
from tasks.sequential_mnist import SequentialMNIST
from tasks.task import Action, Continuous, Discrete, MultiDiscrete, Step, Task, changeable
from tasks.varied import Mixture, Ranges, Size, Varied, drawn, ends, nominal

TASKS: dict[str, Callable[..., Task]] = {
    "associative_recall": AssociativeRecall,
    "copy": Copy,
    "dictionary_inference": DictionaryInference,
    "double_copy": DoubleCopy,
    "guessing_game": GuessingGame,
    "pooled_recall": PooledRecall,
    "priority_sort": PrioritySort,
    "repeat_previous": RepeatPrevious,
    "sequential_mnist": SequentialMNIST,
}
"""Tasks by name; every one can be made without arguments."""

__all__ = [
    "TASKS",
    "Action",
    "AssociativeRecall",
    "Continuous",
    "Copy",
    "DictionaryInference",
    "Discrete",
    "DoubleCopy",
    "GuessingGame",
    "Mixture",
    "MultiDiscrete",
    "PooledRecall",
    "PrioritySort",
    "Ranges",
    "RepeatPrevious",
    "SequenceState",
    "Sequences",
    "SequentialMNIST",
    "Size",
    "Step",
    "Task",
    "Varied",
    "changeable",
    "drawn",
    "ends",
    "nominal",
]
