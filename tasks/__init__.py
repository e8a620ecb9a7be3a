"""Tasks: distributions of episodes, batched on one device, with a state that is a value.

- `tasks.observations`: `ObsPart`, what the numbers of an observation are.
- `tasks.task`: the base class `Task`, `Step` (obs, reward, terminated, truncated, scores) and the action spaces.
- `tasks.games`: the guessing game, the memory card game, the ballet, Catch. `tasks.control`: mazes, T-mazes, cart pole.
- `tasks.sequence`: copying, sorting, recall and sequential MNIST. `tasks.babi`: the 20 question-answering tasks.
- `tasks.offline`: tasks to be learned from recordings of random actions: paths in a graph, key and door, four rooms.
- `tasks.pomdp`: partially observed Markov decision processes from files in Cassandra's format.
- `tasks.adapters`: environments of Gymnasium and PettingZoo as tasks, and tasks as environments.
- `tasks.distributions`: random sizes, mixtures and curricula of tasks.
- `tasks.wrappers`: a task whose observation includes the last action and reward; memory as an action (`Notes`).
- `tasks.data`: files of data sets, from a folder or a mirror.

`TASKS` has every task by name. A task of your own is one file with a frozen dataclass, and a line in `TASKS`.

```python
import torch
from tasks import GuessingGame

task, rng = GuessingGame(dims=4, steps=20), torch.Generator().manual_seed(0)
state, step = task.reset(3, rng)  # 3 episodes
for _ in range(task.steps):
    state, step = task.step(state, torch.zeros(3, 4), rng)
assert step.terminated.all() and step.scores["final_error"].shape == (3,)
```
"""

from collections.abc import Callable

from tasks.adapters.inbound.atari import make_atari
from tasks.adapters.inbound.checked_env import EnvError, EnvLimits
from tasks.adapters.inbound.env_pool import EnvHandle, EnvPool, EnvStep
from tasks.adapters.inbound.gymnasium_task import Gymnasium
from tasks.adapters.inbound.pettingzoo_task import PettingZoo
from tasks.adapters.outbound.gymnasium_env import to_gymnasium
from tasks.adapters.outbound.parallel_env import to_parallel_env
from tasks.babi.baselines import task_errors
from tasks.babi.task import BAbI
from tasks.control.cart_pole import CartPole
from tasks.control.load_unload import LoadUnload
from tasks.control.mazes.i_maze import IMaze
from tasks.control.mazes.labyrinth import Labyrinth
from tasks.control.mazes.maze import Maze
from tasks.control.mountain_hike.task import MountainHike
from tasks.control.proof_of_memory import ProofOfMemory
from tasks.control.spread import Spread
from tasks.control.t_maze import TMaze
from tasks.control.t_maze_long import TMazeLong
from tasks.control.tree_mdp import TreeMDP
from tasks.distributions import (
    Bucketed,
    Curriculum,
    IntOrRange,
    Mixture,
    RandomSizes,
    TaskDistribution,
    nominal,
    sample_size,
    sample_task,
    size_range,
)
from tasks.games.ballet import Ballet
from tasks.games.ballet_recall import BalletRecall
from tasks.games.card_game import CardGame
from tasks.games.card_game_imitation import CardGameImitation
from tasks.games.catch import Catch
from tasks.games.guessing_game import GuessingGame
from tasks.observations import ObsPart
from tasks.offline.cart_world import CartWorld
from tasks.offline.four_rooms import FourRooms
from tasks.offline.gambling import Gambling
from tasks.offline.key_to_door import KeyToDoor
from tasks.offline.random_walk_graph import RandomWalkGraph
from tasks.pomdp.dec_tiger import DecTiger
from tasks.pomdp.task import Pomdp
from tasks.sequence.associative_recall import AssociativeRecall
from tasks.sequence.base import SequenceState, SequenceTask
from tasks.sequence.copy import Copy, DoubleCopy
from tasks.sequence.dictionary_inference import DictionaryInference
from tasks.sequence.input_tape import InputTape
from tasks.sequence.noisy_views import NoisyViews
from tasks.sequence.nth_farthest import NthFarthest
from tasks.sequence.pathfinding import Pathfinding
from tasks.sequence.pooled_recall import PooledRecall
from tasks.sequence.priority_sort import PrioritySort
from tasks.sequence.repeat_previous import RepeatPrevious
from tasks.sequence.sequential_mnist import SequentialMNIST
from tasks.task import (
    ActionSpace,
    Continuous,
    Discrete,
    Mixed,
    MultiDiscrete,
    Path,
    Step,
    Task,
    init_fields,
    num_options,
)
from tasks.wrappers.memory_tape import MemoryTape
from tasks.wrappers.notes import Notes
from tasks.wrappers.previous_action_reward import PreviousActionReward

TASKS: dict[str, Callable[..., Task]] = {
    "babi": BAbI,
    "guessing_game": GuessingGame,
    "maze": Maze,
    "i_maze": IMaze,
    "labyrinth": Labyrinth,
    "pooled_recall": PooledRecall,
    "repeat_previous": RepeatPrevious,
    "sequential_mnist": SequentialMNIST,
    "associative_recall": AssociativeRecall,
    "noisy_views": NoisyViews,
    "copy": Copy,
    "dictionary_inference": DictionaryInference,
    "double_copy": DoubleCopy,
    "nth_farthest": NthFarthest,
    "pathfinding": Pathfinding,
    "priority_sort": PrioritySort,
    "cart_pole": CartPole,
    "t_maze": TMaze,
    "card_game": CardGame,
    "card_game_imitation": CardGameImitation,
    "ballet": Ballet,
    "ballet_recall": BalletRecall,
    "catch": Catch,
    "proof_of_memory": ProofOfMemory,
    "t_maze_long": TMazeLong,
    "spread": Spread,
    "pomdp": Pomdp,
    "dec_tiger": DecTiger,
    "tree_mdp": TreeMDP,
    "load_unload": LoadUnload,
    "input_tape": InputTape,
    "mountain_hike": MountainHike,
    "random_walk_graph": RandomWalkGraph,
    "key_to_door": KeyToDoor,
    "four_rooms": FourRooms,
    "gambling": Gambling,
    "cart_world": CartWorld,
}
"""Tasks by name; every one can be made without arguments."""

__all__ = [
    "TASKS",
    "ActionSpace",
    "AssociativeRecall",
    "BAbI",
    "Ballet",
    "BalletRecall",
    "Bucketed",
    "CardGame",
    "CardGameImitation",
    "CartPole",
    "CartWorld",
    "Catch",
    "Continuous",
    "Copy",
    "Curriculum",
    "DecTiger",
    "DictionaryInference",
    "Discrete",
    "DoubleCopy",
    "EnvError",
    "EnvHandle",
    "EnvLimits",
    "EnvPool",
    "EnvStep",
    "FourRooms",
    "Gambling",
    "GuessingGame",
    "Gymnasium",
    "IMaze",
    "InputTape",
    "IntOrRange",
    "KeyToDoor",
    "Labyrinth",
    "LoadUnload",
    "Maze",
    "MemoryTape",
    "Mixed",
    "Mixture",
    "MountainHike",
    "MultiDiscrete",
    "NoisyViews",
    "Notes",
    "NthFarthest",
    "ObsPart",
    "Path",
    "Pathfinding",
    "PettingZoo",
    "Pomdp",
    "PooledRecall",
    "PreviousActionReward",
    "PrioritySort",
    "ProofOfMemory",
    "RandomSizes",
    "RandomWalkGraph",
    "RepeatPrevious",
    "SequenceState",
    "SequenceTask",
    "SequentialMNIST",
    "Spread",
    "Step",
    "TMaze",
    "TMazeLong",
    "Task",
    "TaskDistribution",
    "TreeMDP",
    "init_fields",
    "make_atari",
    "nominal",
    "num_options",
    "sample_size",
    "sample_task",
    "size_range",
    "task_errors",
    "to_gymnasium",
    "to_parallel_env",
]
