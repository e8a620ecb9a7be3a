"""Controllers of tree MDPs after random exploration: estimates of action values by model, by episodes, by Q-learning.

Each is a function from episodes to tables of action values; `tasks.control.tree_mdp_tables.greedy_values` gives the
true value of acting by them. All trees of a batch have the same number of episodes.

Shapes: N tree, E episode, D depth, S node of a depth, A action, B successor of an action.

Source: Lengyel and Dayan 2007, "Hippocampal contributions to control: the third way".
"""

from typing import NamedTuple

import numpy as np

from tasks.control.tree_mdp_tables import Tables, Trees, expected


class Episodes(NamedTuple):
    """Episodes of uniformly random actions, from the root to a leaf.

    Args:
        shape: (N, A, B).
        nodes: before each action, and the leaf; (D + 1, N, E).
        actions: (D, N, E).
        rewards: (N, E).
    """

    shape: tuple[int, int, int]
    nodes: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray

    def first(self, episodes: int) -> "Episodes":
        """The first episodes alone.

        Args:
            episodes: their number.
        """
        return self._replace(
            nodes=self.nodes[..., :episodes],
            actions=self.actions[..., :episodes],
            rewards=self.rewards[..., :episodes],
        )

    @property
    def depth(self) -> int:
        """The number of choices D."""
        return len(self.actions)

    def table_shape(self, depth: int) -> tuple[int, int, int]:
        """Shape (N, S, A) of the action values of a depth.

        Args:
            depth: of the nodes.
        """
        trees, actions, branching = self.shape
        return trees, (actions * branching) ** depth, actions


def explore(trees: Trees, episodes: int, noise: float, rng: np.random.Generator) -> Episodes:
    """Episodes of uniformly random actions in each tree.

    Args:
        trees: the trees.
        episodes: in each of them, E.
        noise: standard deviation of a reward around the mean of its leaf.
        rng: draws actions, outcomes and rewards.
    """
    count, _, actions, branching = trees.probabilities[0].shape
    tree = np.arange(count)[:, None]
    nodes, taken = [np.zeros((count, episodes), int)], []
    for probabilities in trees.probabilities:
        action = rng.integers(actions, size=(count, episodes))
        cumulative = probabilities[tree, nodes[-1], action].cumsum(-1)
        outcome = (rng.random((count, episodes, 1)) >= cumulative[..., :-1]).sum(-1)
        nodes.append((nodes[-1] * actions + action) * branching + outcome)
        taken.append(action)
    rewards = rng.normal(trees.means[tree, nodes[-1]], noise)
    return Episodes((count, actions, branching), np.stack(nodes), np.stack(taken), rewards)


def model_based(episodes: Episodes, reward_noise: float, inference_noise: Tables | None = None) -> list[np.ndarray]:
    """Tree search with posterior means of the model, whose priors are those that trees are drawn from.

    Args:
        episodes: that were seen.
        reward_noise: standard deviation of a reward around the mean of its leaf.
        inference_noise: added to each action value as it is computed, also where it is the value of a successor.
    """
    visits = [_visits(episodes, depth) for depth in range(episodes.depth)]
    probabilities = [(count + 1) / (count + 1).sum(-1, keepdims=True) for count in visits]
    leaf_visits = visits[-1].reshape(len(visits[-1]), -1)
    # 1 / (1 + noise^2 / visits) of the mean reward, the posterior mean of a standard normal; 0 without a visit
    means = _leaf_sums(episodes) / np.where(leaf_visits > 0, leaf_visits + reward_noise**2, 1)
    return _search(means, probabilities, inference_noise)


def replayed_q_learning(episodes: Episodes) -> list[np.ndarray]:
    """Q-learning from a replay of all transitions, the last of each episode first, at a rate of 1 / visits.

    An action value is thus the mean over its transitions of the reward, or of the highest value of the successor. All
    values are 0 at first.

    Args:
        episodes: that were seen.
    """
    visits = [_visits(episodes, depth) for depth in range(episodes.depth)]
    frequencies = [count / np.maximum(count.sum(-1, keepdims=True), 1) for count in visits]
    leaf_visits = visits[-1].reshape(len(visits[-1]), -1)
    return _search(_leaf_sums(episodes) / np.maximum(leaf_visits, 1), frequencies)


def online_q_learning(episodes: Episodes, rate: float) -> list[np.ndarray]:
    """One-step Q-learning during exploration, without replay: an episode moves a reward back by one step.

    Args:
        episodes: that were seen, in their order.
        rate: the learning rate.
    """
    values = [np.zeros(episodes.table_shape(depth)) for depth in range(episodes.depth)]
    tree = np.arange(episodes.shape[0])
    for e in range(episodes.rewards.shape[-1]):
        for depth, table in enumerate(values):
            last = depth == episodes.depth - 1
            successor = episodes.nodes[depth + 1, :, e]
            target = episodes.rewards[:, e] if last else values[depth + 1][tree, successor].max(-1)
            chosen = tree, episodes.nodes[depth, :, e], episodes.actions[depth, :, e]
            table[chosen] += rate * (target - table[chosen])
    return values


def episodic_control(episodes: Episodes) -> list[np.ndarray]:
    """The best return that has followed each action; minus infinity for one that has not been tried.

    Acting by it repeats the best-paid action of a known node, and acts at random in an unknown one.

    Args:
        episodes: that were seen.
    """
    best = [np.full(episodes.table_shape(depth), -np.inf) for depth in range(episodes.depth)]
    tree = np.arange(episodes.shape[0])[:, None]
    for table, nodes, actions in zip(best, episodes.nodes, episodes.actions, strict=False):  # without the leaves
        np.maximum.at(table, (tree, nodes, actions), episodes.rewards)
    return best


def _search(values: np.ndarray, probabilities: list[np.ndarray], noise: Tables | None = None) -> list[np.ndarray]:
    """Action values of all depths by backward induction."""
    tables = []
    for depth in reversed(range(len(probabilities))):
        table = expected(values, probabilities[depth]) + (0 if noise is None else noise[depth])
        values = table.max(-1)
        tables.append(table)
    return tables[::-1]


def _visits(episodes: Episodes, depth: int) -> np.ndarray:
    """How often each outcome of each action of a depth was seen, (N, S, A, B)."""
    shape = *episodes.table_shape(depth), episodes.shape[-1]
    return _sum_by_node(episodes, depth + 1).reshape(shape)


def _leaf_sums(episodes: Episodes) -> np.ndarray:
    """Sum of the rewards of each leaf, (N, S)."""
    return _sum_by_node(episodes, episodes.depth, episodes.rewards.ravel())


def _sum_by_node(episodes: Episodes, depth: int, weights: np.ndarray | None = None) -> np.ndarray:
    trees, nodes, _ = episodes.table_shape(depth)
    flat = np.arange(trees)[:, None] * nodes + episodes.nodes[depth]
    return np.bincount(flat.ravel(), weights, trees * nodes).reshape(trees, nodes)
