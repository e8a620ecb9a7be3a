"""Worlds in which one expert acts, and is paid."""

from collections.abc import Callable
from functools import partial
from typing import Any

from badger.learners import A2C
from badger.recipes.memories import Memories
from badger.recipes.sequences import READER
from badger.recipes.settings import Setup, recipe
from badger.runs.run import Run
from comms import pick
from experts import LSTM
from tasks import Maze

SETTINGS: dict[str, tuple[Callable[[], Maze], dict[str, Any]]] = {
    "plasticity": (Maze.plasticity, {"value_weight": 0.03, "entropy_weight": 0.0, "simpson_weight": 0.1, "clip": None}),
    "backpropamine": (Maze.backpropamine, {"value_weight": 0.1, "entropy_weight": 0.03, "clip": 4.0}),
}


@recipe(**READER | {"batch": 30, "lr": 1e-4, "outer_steps": 10_000, "memory": "neural", "key_size": 100, "heads": 3})
def maze(setup: Setup, memories: Memories, *, setting: str = "plasticity", hidden_size: int = 200) -> Run:
    """One expert finds a goal that it cannot see, and comes back to it, by A2C (Miconi et al. 2018).

    Args:
        setting: plasticity, that of 2018, on which Munkhdalai et al. 2019 build; or backpropamine, that of 2019.
        hidden_size: of the LSTM, or of the plastic network.
    """
    task, weights = pick(SETTINGS, setting, "setting")
    core = memories.core(partial(LSTM, hidden_size=hidden_size), setup.experts)
    return setup.run(task(), core, learner=A2C, gamma=0.9, eps=1e-4, auxiliary=memories.auxiliary, **weights)
