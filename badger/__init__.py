"""Badger agents: many experts that share their weights, remember, talk, and act together.

The public names of all four packages are here, so that one import is enough. `badger --help` is the command line.
"""

import importlib

for _name, _mark in {"comms": "BUSES", "experts": "CORES", "tasks": "TASKS"}.items():
    _found = importlib.import_module(_name)  # common words: another file of that name would be taken for ours
    if not hasattr(_found, _mark):
        _where = getattr(_found, "__file__", None) or list(getattr(_found, "__path__", []))
        raise ImportError(
            f"`import {_name}` finds {_where}, which is not the package {_name} of badger-agents but hides it: "
            "rename it, or start Python elsewhere"
        )

from badger import act, distributed, figures, rng, sense  # noqa: E402
from badger.act import ACTS  # noqa: E402
from badger.agent import Agent, AgentState  # noqa: E402
from badger.evaluation import trace_similarity as similarity  # noqa: E402
from badger.evaluation.evaluate import evaluate  # noqa: E402
from badger.evaluation.inspection import look  # noqa: E402
from badger.evaluation.size_grid import grid, with_slots  # noqa: E402
from badger.learners import (  # noqa: E402
    A2C,
    BPTT,
    DRQN,
    LEARNERS,
    PPO,
    R2D2,
    Learner,
)
from badger.learners.population import Population  # noqa: E402
from badger.learners.schedules import Cooldown, Decay, Ladder, Schedule  # noqa: E402
from badger.policies.policies import (  # noqa: E402
    POLICIES,
    EpsilonGreedy,
    Greedy,
    Sampled,
    direct,
)
from badger.recipes import RECIPES  # noqa: E402
from badger.recipes.build import build, load_run, trained  # noqa: E402
from badger.recipes.flags import recipe  # noqa: E402
from badger.recipes.settings import Setup  # noqa: E402
from badger.rng import generator  # noqa: E402
from badger.rollouts.loop import rollout  # noqa: E402
from badger.rollouts.trajectory import Carry, Frames, start  # noqa: E402
from badger.runs import milestones as report  # noqa: E402
from badger.runs.recorder import read_metrics  # noqa: E402
from badger.runs.run import Diverged, Run, RunExists  # noqa: E402
from badger.runs.training import train  # noqa: E402
from badger.study import STUDIES, Arm, Study  # noqa: E402
from badger.version import __version__ as __version__  # noqa: E402
from comms import (  # noqa: E402
    BUSES,
    TOPOLOGIES,
    Attention,
    Bus,
    Delayed,
    Delivery,
    EdgeList,
    Edges,
    Gated,
    Mean,
    Noisy,
    Silent,
    Workspace,
    connect,
)
from experts import (  # noqa: E402
    AMRL,
    CORES,
    DNC,
    GRU,
    LSTM,
    ClusteredMemory,
    Core,
    EpisodicMemory,
    Feedforward,
    GTrXL,
    LookupTable,
    NeuralMemory,
    Plastic,
    Predictive,
    Private,
    Reconstruction,
    Shared,
    Unrolled,
    Window,
    both,
)
from tasks import (  # noqa: E402
    TASKS,
    AssociativeRecall,
    BAbI,
    CardGame,
    CardLesson,
    CartPole,
    Copy,
    Curriculum,
    DictionaryInference,
    DoubleCopy,
    Feedback,
    GuessingGame,
    Gymnasium,
    Maze,
    Mixture,
    Parts,
    PettingZoo,
    PooledRecall,
    PrioritySort,
    ProofOfMemory,
    Ranges,
    RepeatPrevious,
    SequentialMNIST,
    Step,
    Task,
    TMaze,
    TMazeLong,
    Watch,
    WorldError,
    Worlds,
    task_errors,
    to_gymnasium,
    to_parallel_env,
)

__all__ = [
    "A2C",
    "ACTS",
    "AMRL",
    "BPTT",
    "BUSES",
    "CORES",
    "DNC",
    "DRQN",
    "GRU",
    "LEARNERS",
    "LSTM",
    "POLICIES",
    "PPO",
    "R2D2",
    "RECIPES",
    "STUDIES",
    "TASKS",
    "TOPOLOGIES",
    "Agent",
    "AgentState",
    "Arm",
    "AssociativeRecall",
    "Attention",
    "BAbI",
    "Bus",
    "CardGame",
    "CardLesson",
    "Carry",
    "CartPole",
    "ClusteredMemory",
    "Cooldown",
    "Copy",
    "Core",
    "Curriculum",
    "Decay",
    "Delayed",
    "Delivery",
    "DictionaryInference",
    "Diverged",
    "DoubleCopy",
    "EdgeList",
    "Edges",
    "EpisodicMemory",
    "EpsilonGreedy",
    "Feedback",
    "Feedforward",
    "Frames",
    "GTrXL",
    "Gated",
    "Greedy",
    "GuessingGame",
    "Gymnasium",
    "Ladder",
    "Learner",
    "LookupTable",
    "Maze",
    "Mean",
    "Mixture",
    "NeuralMemory",
    "Noisy",
    "Parts",
    "PettingZoo",
    "Plastic",
    "PooledRecall",
    "Population",
    "Predictive",
    "PrioritySort",
    "Private",
    "ProofOfMemory",
    "Ranges",
    "Reconstruction",
    "RepeatPrevious",
    "Run",
    "RunExists",
    "Sampled",
    "Schedule",
    "SequentialMNIST",
    "Setup",
    "Shared",
    "Silent",
    "Step",
    "Study",
    "TMaze",
    "TMazeLong",
    "Task",
    "Unrolled",
    "Watch",
    "Window",
    "Workspace",
    "WorldError",
    "Worlds",
    "act",
    "both",
    "build",
    "connect",
    "direct",
    "distributed",
    "evaluate",
    "figures",
    "generator",
    "grid",
    "load_run",
    "look",
    "read_metrics",
    "recipe",
    "report",
    "rng",
    "rollout",
    "sense",
    "similarity",
    "start",
    "task_errors",
    "to_gymnasium",
    "to_parallel_env",
    "train",
    "trained",
    "with_slots",
]
