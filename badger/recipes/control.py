"""Recipes of control tasks: a pole to be balanced, a goal in a maze or graph, landmarks to cover, a cart to drive."""

from collections.abc import Callable
from typing import Any

from badger.recipes.flags import recipe
from badger.recipes.sequences import SINGLE_EXPERT_DEFAULTS
from badger.recipes.settings import Setup
from badger.runs.run import Run
from comms import get_by_name
from tasks import CartPole, CartWorld, FourRooms, Labyrinth, Maze, RandomWalkGraph, Spread

CARTPOLE_LEARNERS: dict[str, dict[str, Any]] = {
    "ppo": {"horizon": 128, "epochs": 10, "minibatches": 4, "lam": 0.95},
    "a2c": {"horizon": 32, "lam": 0.95, "value_weight": 0.5, "entropy_weight": 0.0, "clip": 0.5},
    # A single push matters little: with a slow actor, or a larger weight of the entropy, it stays random.
    "dreamer": {"actor_lr": 1.0, "entropy_weight": 1e-4, "gradient_steps": 40},
    "world_models": {"population": 16},
}
MAZE_SETTINGS: dict[str, tuple[Callable[[], Maze], dict[str, Any]]] = {
    "plasticity": (Maze.plasticity, {"value_weight": 0.03, "entropy_weight": 0.0, "simpson_weight": 0.1, "clip": None}),
    "backpropamine": (Maze.backpropamine, {"value_weight": 0.1, "entropy_weight": 0.03, "clip": 4.0}),
}


@recipe(
    {"core": {"rssm": {"obs_std": 0.03}, "mdn_rnn": {"obs_std": 0.03}}},  # of .1 too coarse to tell velocities
    experts=1, bus="silent", topology="none", act="mean", identity_size=0, batch=8, lr=2e-3, outer_steps=97,
    learner="ppo", sense="scaled",
    **{
        "sense.power": 0.0, "sense.scale": 5.0,  # 12 degrees are 0.2
        "learner.gamma": 0.98, "learner.reward_scale": 0.05,
        "learner.eval_policy": "greedy",  # a random push now and then ends many an episode
    },
)  # fmt: skip
def cartpole(setup: Setup, *, velocities: bool = False, steps: int = 500) -> Run:
    """One expert balances a pole without observing velocities, so that it must remember earlier positions.

    An outer step of ppo has 1,024 environment steps, one of a2c or dreamer 256. `--core feedforward` is the control
    without memory. `--learner dreamer --core rssm` learns in imagination, and `--learner world_models --core mdn_rnn`
    evolves a linear controller of a model of random episodes; both observe the last action and reward.

    Args:
        velocities: observe them.
        steps: after which an episode is truncated.
    """
    task = CartPole(steps, velocities=velocities)
    return setup.make_run(task, learner_defaults=CARTPOLE_LEARNERS.get(setup.learner.name))


@recipe(
    **SINGLE_EXPERT_DEFAULTS
    | {"batch": 30, "lr": 1e-4, "outer_steps": 10_000, "core": "neural_memory", "learner": "a2c"}
    | {"core.hidden_size": 200, "core.controller": "lstm", "core.width": 100, "core.key_size": 100}
    | {"core.value_size": 100, "core.slot_size": 100, "core.heads": 3}
    | {"learner.gamma": 0.9, "learner.eps": 1e-4}
)
def maze(setup: Setup, *, setting: str = "plasticity") -> Run:
    """One expert finds a hidden goal in a maze and returns to it (Miconi et al. 2018).

    Args:
        setting: plasticity, that of Miconi et al. 2018, also used by Munkhdalai et al. 2019; or backpropamine, that of
            Miconi et al. 2019.
    """
    task, weights = get_by_name(MAZE_SETTINGS, setting, "setting")
    return setup.make_run(task(), learner_defaults=weights)


@recipe(
    {"learner": {"ppo": {"horizon": 32, "epochs": 4, "minibatches": 4, "entropy_weight": 0.01}}},
    **SINGLE_EXPERT_DEFAULTS
    | {"batch": 64, "lr": 1e-3, "outer_steps": 200, "core": "neural_map", "learner": "ppo", "core.map_size": 9},
)
def labyrinth(setup: Setup, *, side: int = 4, loops: float = 0.1) -> Run:
    """One expert searches random mazes for the goal of the color that it saw at the start (Parisotto et al. 2017).

    An outer step of ppo has 2,048 environment steps. `--core neural_map` remembers by place; its map has a cell for
    each of the maze's where `--core.map_size` is 2 side + 1.

    Args:
        side: rooms in a row and in a column.
        loops: probability that another wall between two rooms is opened.
    """
    return setup.make_run(Labyrinth(side, loops))


OBSERVED_DEFAULTS: dict[str, Any] = SINGLE_EXPERT_DEFAULTS | {
    "core": "feedforward", "learner": "ppo", "batch": 64, "lr": 3e-3, "schedule": "linear", "outer_steps": 100,
}  # fmt: skip
PPO_DEFAULTS: dict[str, dict[str, Any]] = {"ppo": {"epochs": 4, "minibatches": 4, "lam": 0.95, "entropy_weight": 0.01}}


@recipe({"learner": PPO_DEFAULTS}, **OBSERVED_DEFAULTS)
def random_walk_graph(
    setup: Setup, *, nodes: int = 20, edge_probability: float = 0.1, graph: int = 0, steps: int = 10
) -> Run:
    """One expert without memory walks to the goal node of a random graph (Chen et al. 2021).

    Args:
        nodes: in the graph.
        edge_probability: of each pair of nodes.
        graph: the number of the graph, a seed.
        steps: the longest walk.
    """
    task = RandomWalkGraph(steps, nodes, edge_probability, graph)
    return setup.make_run(task, learner_defaults={"horizon": steps})


@recipe({"learner": PPO_DEFAULTS}, **OBSERVED_DEFAULTS)
def four_rooms(setup: Setup, *, size: int = 11, steps: int = 60) -> Run:
    """One expert without memory walks to an observed goal in a grid of four rooms (Sutton et al. 1999).

    Args:
        size: rows and columns of cells, an odd number.
        steps: the longest episode.
    """
    return setup.make_run(FourRooms(steps, size), learner_defaults={"horizon": 32})


@recipe({"learner": PPO_DEFAULTS}, **OBSERVED_DEFAULTS)
def cart_world(setup: Setup, *, steps: int = 60, noise: float = 0.02) -> Run:
    """One expert without memory drives a cart that is paid its velocity: a world for distributions of rewards.

    Args:
        steps: length of an episode.
        noise: standard deviation of a random change of the velocity.
    """
    return setup.make_run(CartWorld(steps, noise=noise), learner_defaults={"horizon": steps})


@recipe(
    experts=0, batch=64, lr=5e-3, outer_steps=400, schedule="cosine", learner="ppo", sense="team", act="team",
    identity_size=0,
    **{
        "sense.scale": 4.0, "learner.gamma": 0.8, "learner.reward_scale": 0.3, "learner.entropy_weight": 0.01,
        "learner.eval_policy": "greedy",
    },
)  # fmt: skip
def spread(setup: Setup, *, agents: int = 3, local_ratio: float = 0.5, steps: int = 25) -> Run:
    """A team covers landmarks and avoids collisions: simple_spread of PettingZoo and MPE2, batched in torch.

    An outer step has one episode of each row, 1,600 environment steps.

    Args:
        agents: number of agents, and of landmarks.
        local_ratio: weight of an agent's own reward, for collisions.
        steps: length of an episode.
    """
    task = Spread(steps, agents, local_ratio)
    defaults: dict[str, dict[str, Any]] = {
        "ppo": {"horizon": steps, "epochs": 4, "minibatches": 4, "lam": 0.95, "sequence_length": 13},
        "a2c": {"horizon": None},
    }
    return setup.with_default_experts(task).make_run(task, learner_defaults=defaults.get(setup.learner.name))
