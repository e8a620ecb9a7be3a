"""Distributions of episodes. One task a file."""

from collections.abc import Callable

from tasks.adapters.inbound.checked_env import Watch, WorldError
from tasks.adapters.inbound.env_pool import Told, World, Worlds
from tasks.adapters.inbound.gymnasium_task import Gymnasium
from tasks.adapters.inbound.pettingzoo_task import PettingZoo
from tasks.adapters.outbound.gymnasium_env import to_gymnasium
from tasks.adapters.outbound.parallel_env import to_parallel_env
from tasks.babi.baselines import task_errors
from tasks.babi.task import BAbI
from tasks.control.cart_pole import CartPole
from tasks.control.maze import Maze
from tasks.control.proof_of_memory import ProofOfMemory
from tasks.control.t_maze import TMaze
from tasks.control.t_maze_long import TMazeLong
from tasks.distributions import Curriculum, Mixture, Parts, Ranges, Size, Varied, drawn, ends, nominal, played
from tasks.games.card_game import CardGame
from tasks.games.card_game_imitation import CardLesson
from tasks.games.guessing_game import GuessingGame
from tasks.sequence.associative_recall import AssociativeRecall
from tasks.sequence.base import Sequences, SequenceState
from tasks.sequence.copy import Copy, DoubleCopy
from tasks.sequence.dictionary_inference import DictionaryInference
from tasks.sequence.pooled_recall import PooledRecall
from tasks.sequence.priority_sort import PrioritySort
from tasks.sequence.repeat_previous import RepeatPrevious
from tasks.sequence.sequential_mnist import SequentialMNIST
from tasks.task import Action, Continuous, Discrete, MultiDiscrete, Path, Step, Task, changeable
from tasks.wrappers import Feedback

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
