"""Control tasks with a reward at each step: a pole to be balanced, a goal in a maze to be found."""

from collections.abc import Callable
from functools import partial
from typing import Any

from badger import sense
from badger.learners import A2C, PPO
from badger.recipes.flags import recipe
from badger.recipes.memories import MemoryFlags
from badger.recipes.sequences import SINGLE_EXPERT_DEFAULTS
from badger.recipes.settings import Setup
from badger.runs.run import Run
from comms import get_by_name
from experts import CORES, LSTM, Feedforward
from tasks import CartPole, Maze

CARTPOLE_LEARNERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "ppo": (PPO, {"horizon": 128, "epochs": 10, "minibatches": 4, "lam": 0.95}),
    "a2c": (A2C, {"horizon": 32, "lam": 0.95, "value_weight": 0.5, "entropy_weight": 0.0, "clip": 0.5}),
}
MAZE_SETTINGS: dict[str, tuple[Callable[[], Maze], dict[str, Any]]] = {
    "plasticity": (Maze.plasticity, {"value_weight": 0.03, "entropy_weight": 0.0, "simpson_weight": 0.1, "clip": None}),
    "backpropamine": (Maze.backpropamine, {"value_weight": 0.1, "entropy_weight": 0.03, "clip": 4.0}),
}
CONTROL_DEFAULTS = {"experts": 1, "bus": "silent", "topology": "none", "act": "mean", "identity_size": 0}


@recipe(**CONTROL_DEFAULTS, batch=8, lr=2e-3, outer_steps=97)
def cartpole(
    setup: Setup, *, velocities: bool = False, learner: str = "ppo", core: str = "gru", hidden_size: int = 64
) -> Run:
    """One expert balances a pole of which it sees no velocities, so that it must remember where things were.

    Args:
        velocities: whether it sees them.
        learner: ppo, with 1,024 steps of the world in an outer step; or a2c, with 256.
        core: of the expert: gru, any that `badger list` names, or none, a control without memory.
        hidden_size: of the core.
    """
    make, options = get_by_name(CARTPOLE_LEARNERS, learner, "learner")
    senses = partial(sense.Scaled, power=0.0, scale=5.0)  # 12 degrees are 0.2
    make_core = get_by_name(CORES | {"none": Feedforward}, core, "core")
    return setup.make_run(
        CartPole(velocities=velocities),
        lambda size: make_core(size, hidden_size),
        make_sense=senses,
        learner=make,
        gamma=0.98,
        reward_scale=0.05,
        policy="greedy",  # when it is judged: a push drawn at random now and then ends many an episode
        **options,
    )


@recipe(
    **SINGLE_EXPERT_DEFAULTS
    | {"batch": 30, "lr": 1e-4, "outer_steps": 10_000, "memory": "neural", "key_size": 100, "heads": 3}
)
def maze(setup: Setup, memories: MemoryFlags, *, setting: str = "plasticity", hidden_size: int = 200) -> Run:
    """One expert finds a goal that it cannot see, and comes back to it, by A2C (Miconi et al. 2018).

    Args:
        setting: plasticity, that of 2018, on which Munkhdalai et al. 2019 build; or backpropamine, that of 2019.
        hidden_size: of the LSTM, or of the plastic network.
    """
    task, weights = get_by_name(MAZE_SETTINGS, setting, "setting")
    core = memories.core_factory(partial(LSTM, hidden_size=hidden_size), setup.experts)
    return setup.make_run(
        task(), core, learner=A2C, gamma=0.9, eps=1e-4, auxiliary=memories.auxiliary_weights, **weights
    )
