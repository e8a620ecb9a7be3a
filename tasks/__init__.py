"""Distributions of episodes. One task a file."""

from collections.abc import Callable

from tasks.associative_recall import AssociativeRecall
from tasks.babi import BAbI
from tasks.babi_results import task_errors
from tasks.card_game import CardGame
from tasks.card_lesson import CardLesson
from tasks.cart_pole import CartPole
from tasks.copying import Copy, DoubleCopy
from tasks.dictionary_inference import DictionaryInference
from tasks.feedback import Feedback
from tasks.guessing_game import GuessingGame
from tasks.gymnasium import Gymnasium
from tasks.gymnasium_env import to_gymnasium
from tasks.maze import Maze
from tasks.outside import Told, World, Worlds
from tasks.parallel_env import to_parallel_env
from tasks.pettingzoo import PettingZoo
from tasks.pooled_recall import PooledRecall
from tasks.priority_sort import PrioritySort
from tasks.proof_of_memory import ProofOfMemory
from tasks.repeat_previous import RepeatPrevious
from tasks.rows import Watch, WorldError
from tasks.sequences import Sequences, SequenceState
from tasks.sequential_mnist import SequentialMNIST
from tasks.t_maze import TMaze
from tasks.t_maze_long import TMazeLong
from tasks.task import Action, Continuous, Discrete, MultiDiscrete, Path, Step, Task, changeable
from tasks.varied import Curriculum, Mixture, Parts, Ranges, Size, Varied, drawn, ends, nominal, played

TASKS: dict[str, Callable[..., Task]] = {
    "babi": BAbI,
    "guessing_game": GuessingGame,
    "maze": Maze,
    "pooled_recall": PooledRecall,
    "repeat_previous": RepeatPrevious,
    "sequential_mnist": SequentialMNIST,
    "associative_recall": AssociativeRecall,
    "copy": Copy,
    "dictionary_inference": DictionaryInference,
    "double_copy": DoubleCopy,
    "priority_sort": PrioritySort,
    "cart_pole": CartPole,
    "t_maze": TMaze,
    "card_game": CardGame,
    "card_lesson": CardLesson,
    "proof_of_memory": ProofOfMemory,
    "t_maze_long": TMazeLong,
}
"""Tasks by name; every one can be made without arguments."""

__all__ = [
    "TASKS",
    "Action",
    "AssociativeRecall",
    "BAbI",
    "CardGame",
    "CardLesson",
    "CartPole",
    "Continuous",
    "Copy",
    "Curriculum",
    "DictionaryInference",
    "Discrete",
    "DoubleCopy",
    "Feedback",
    "GuessingGame",
    "Gymnasium",
    "Maze",
    "Mixture",
    "MultiDiscrete",
    "Parts",
    "Path",
    "PettingZoo",
    "PooledRecall",
    "PrioritySort",
    "ProofOfMemory",
    "Ranges",
    "RepeatPrevious",
    "SequenceState",
    "Sequences",
    "SequentialMNIST",
    "Size",
    "Step",
    "TMaze",
    "TMazeLong",
    "Task",
    "Told",
    "Varied",
    "Watch",
    "World",
    "WorldError",
    "Worlds",
    "changeable",
    "drawn",
    "ends",
    "nominal",
    "played",
    "task_errors",
    "to_gymnasium",
    "to_parallel_env",
]
