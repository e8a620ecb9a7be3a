"""The study `tree-mdp`: which controller learns how fast from few episodes in a tree MDP."""

import numpy as np

from badger.planning.tree_mdp import (
    Episodes,
    episodic_control,
    explore,
    model_based,
    online_q_learning,
    replayed_q_learning,
)
from badger.study.simulations.simulation import Curves, Simulation
from tasks.control.tree_mdp_tables import Tables, Trees, greedy_values, optimal_values, random_values, sample_trees

EPISODES = [1, 2, 5, 10, 20, 35, 50, 75, 100, 150, 200, 275, 350, 450, 600, 800, 1100, 1500, 2000]


def simulate_tree_mdp(
    *,
    seed: int,
    depth: int,
    actions: int,
    branching: int,
    trees: int,
    episodes: list[int],
    reward_noise: float,
    inference_noise: float,
    rate: float,
) -> Curves:
    """Normalized values of all controllers after numbers of random exploration episodes, mean over random trees.

    Args:
        seed: of trees, episodes and noise.
        depth: of a tree, number of choices.
        actions: of each node.
        branching: successors of each action.
        trees: their number.
        episodes: numbers of exploration episodes, increasing; the later have those of the earlier.
        reward_noise: standard deviation of a reward around the mean of its leaf.
        inference_noise: standard deviation of the noise on each action value that the noisy controller computes.
        rate: learning rate of online Q-learning.
    """
    rng = np.random.default_rng(seed)
    sampled = sample_trees(trees, depth, actions, branching, rng)
    explored = explore(sampled, episodes[-1], reward_noise, rng)
    y: dict[str, list[float]] = {}
    for count in episodes:
        seen = explored.first(count)
        noise = [rng.normal(0, inference_noise, seen.table_shape(d)) for d in range(depth)]
        for name, value in controller_scores(sampled, seen, reward_noise, noise, rate).items():
            y.setdefault(name, []).append(value)
    return Curves(episodes, y)


def controller_scores(
    trees: Trees, episodes: Episodes, reward_noise: float, noise: Tables, rate: float
) -> dict[str, float]:
    """(V - random) / (optimal - random) of each controller; V, random and optimal are means over trees.

    Args:
        trees: the trees.
        episodes: of exploration.
        reward_noise: standard deviation of a reward around the mean of its leaf.
        noise: added to each action value that the noisy controller computes.
        rate: learning rate of online Q-learning.
    """
    tables = {
        "model-based": model_based(episodes, reward_noise),
        "noisy model-based": model_based(episodes, reward_noise, noise),
        "episodic": episodic_control(episodes),
        "Q-learning, online": online_q_learning(episodes, rate),
        "Q-learning, replayed": replayed_q_learning(episodes),
    }
    chance, optimum = random_values(trees).mean(), optimal_values(trees).mean()
    return {
        name: float((greedy_values(trees, table).mean() - chance) / (optimum - chance))
        for name, table in tables.items()
    }


TREE_MDP = Simulation(
    name="tree-mdp",
    claim="Episodic control beats noisy planning after few episodes, and for longer the more an action can lead to.",
    simulate=simulate_tree_mdp,
    arms={
        f"branching-{branching}": {
            "depth": 3, "actions": 4, "branching": branching, "trees": 500, "episodes": EPISODES, "reward_noise": 1.0,
            "inference_noise": 0.25, "rate": 0.1,
        }
        for branching in (2, 3, 4)
    },
    x="exploration episodes",
    y="(V - random) / (optimal - random)",
    overtakes=("noisy model-based", "episodic"),
    seeds=8,
    quick={"depth": 2, "actions": 2, "trees": 20, "episodes": [1, 10, 100]},
)  # fmt: skip
"""After Lengyel and Dayan 2007, figure 3; the Q-learning controllers are not in the paper."""
