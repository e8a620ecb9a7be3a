"""Controllers of tree MDPs against plain ones, which know one tree and walk through it node by node."""

import math

import numpy as np
import pytest

from badger.planning.tree_mdp import explore
from badger.study.simulations.tree_mdp import controller_scores
from tasks.control.tree_mdp_tables import greedy_values, optimal_values, random_values, sample_trees

RATE, SIGMA = 0.1, 0.7


class PlainTree:
    """One tree with its episodes. A node is (depth, number)."""

    def __init__(self, trees, episodes, noise, i):
        self.p = [level[i] for level in trees.probabilities]
        self.means = trees.means[i]
        self.depth, (self.actions, self.branching) = len(self.p), self.p[0].shape[1:]
        self.noise = [level[i] for level in noise]
        self.episodes = [
            ([int(episodes.nodes[d, i, e]) for d in range(self.depth + 1)],
             [int(episodes.actions[d, i, e]) for d in range(self.depth)], float(episodes.rewards[i, e]))
            for e in range(episodes.rewards.shape[1])
        ]  # fmt: skip

    def child(self, k, a, b):
        return k * self.actions * self.branching + a * self.branching + b

    def value(self, choose, d=0, k=0):
        """True value of a policy: `choose(d, k)` lists the actions that it takes with equal probability."""
        if d == self.depth:
            return self.means[k]
        chosen = choose(d, k)
        total = 0.0
        for a in chosen:
            for b in range(self.branching):
                total += self.p[d][k, a, b] * self.value(choose, d + 1, self.child(k, a, b))
        return total / len(chosen)

    def optimum(self, d=0, k=0):
        if d == self.depth:
            return self.means[k]
        return max(
            sum(self.p[d][k, a, b] * self.optimum(d + 1, self.child(k, a, b)) for b in range(self.branching))
            for a in range(self.actions)
        )

    def best_of(self, q):
        """The actions with the highest value; `q(d, k, a)`."""

        def choose(d, k):
            values = [q(d, k, a) for a in range(self.actions)]
            return [a for a, value in enumerate(values) if value == max(values)]

        return choose

    def seen(self, d, k, a):
        """Successors and returns of an action."""
        return [(n[d + 1], r) for n, taken, r in self.episodes if n[d] == k and taken[d] == a]

    def planned(self, noise):
        def value(d, k):
            if d < self.depth:
                return max(q(d, k, a) for a in range(self.actions))
            rewards = [r for n, _, r in self.episodes if n[-1] == k]
            return sum(rewards) / (len(rewards) + SIGMA**2)  # the posterior mean of N(0, 1) by precisions

        def q(d, k, a):
            after = [n for n, _ in self.seen(d, k, a)]
            mean = 0.0
            for b in range(self.branching):
                count = after.count(self.child(k, a, b))
                mean += (count + 1) / (len(after) + self.branching) * value(d + 1, self.child(k, a, b))
            return mean + (self.noise[d][k, a] if noise else 0)

        return q

    def episodic(self, d, k, a):
        return max((r for _, r in self.seen(d, k, a)), default=-math.inf)

    def online(self):
        table = {}
        for nodes, taken, reward in self.episodes:
            for d, a in enumerate(taken):
                following = [table.get((d + 1, nodes[d + 1], other), 0.0) for other in range(self.actions)]
                target = reward if d == self.depth - 1 else max(following)
                old = table.get((d, nodes[d], a), 0.0)
                table[d, nodes[d], a] = old + RATE * (target - old)
        return lambda d, k, a: table.get((d, k, a), 0.0)

    def replayed(self):
        table, counts = {}, {}
        for d in reversed(range(self.depth)):
            for nodes, taken, reward in self.episodes:
                following = [table.get((d + 1, nodes[d + 1], other), 0.0) for other in range(self.actions)]
                target = reward if d == self.depth - 1 else max(following)
                key = d, nodes[d], taken[d]
                counts[key] = counts.get(key, 0) + 1
                table[key] = table.get(key, 0.0) + (target - table.get(key, 0.0)) / counts[key]
        return lambda d, k, a: table.get((d, k, a), 0.0)

    def values(self):
        q = {
            "model-based": self.planned(noise=False),
            "noisy model-based": self.planned(noise=True),
            "episodic": self.episodic,
            "Q-learning, online": self.online(),
            "Q-learning, replayed": self.replayed(),
        }
        return {name: self.value(self.best_of(of)) for name, of in q.items()}

    def chance(self):
        return self.value(lambda d, k: range(self.actions))


@pytest.mark.parametrize(
    ("depth", "actions", "branching", "episodes"), [(2, 3, 2, 1), (2, 2, 3, 12), (3, 2, 2, 40), (1, 2, 1, 5)]
)
def test_all_controllers_score_as_plain_ones_with_the_same_draws(depth, actions, branching, episodes):
    rng = np.random.default_rng(depth)
    trees = sample_trees(6, depth, actions, branching, rng)
    explored = explore(trees, episodes + 5, SIGMA, rng).first(episodes)
    noise = [rng.normal(0, 0.25, explored.table_shape(d)) for d in range(depth)]
    plain = [PlainTree(trees, explored, noise, i) for i in range(6)]
    chance, optimum = np.mean([tree.chance() for tree in plain]), np.mean([tree.optimum() for tree in plain])
    wanted = {name: (np.mean([tree.values()[name] for tree in plain]) - chance) / (optimum - chance)
              for name in plain[0].values()}  # fmt: skip
    assert controller_scores(trees, explored, SIGMA, noise, RATE) == pytest.approx(wanted, abs=1e-9)


def test_random_exploration_follows_the_probabilities_and_pays_the_means():
    trees = sample_trees(1, 2, 2, 3, np.random.default_rng(0))
    explored = explore(trees, 40_000, 0.5, np.random.default_rng(1))
    reached = np.einsum("ab,abcd->abcd", *[p[0, 0] if d == 0 else p[0].reshape(2, 3, 2, 3)
                                           for d, p in enumerate(trees.probabilities)]).ravel() / 4  # fmt: skip
    assert np.bincount(explored.nodes[2, 0], minlength=36) / 40_000 == pytest.approx(reached, abs=0.01)
    assert (explored.rewards - trees.means[0, explored.nodes[2]]).std() == pytest.approx(0.5, abs=0.01)


def test_no_policy_is_better_than_the_optimum_and_equal_estimates_act_at_random():
    rng = np.random.default_rng(0)
    trees = sample_trees(50, 3, 3, 2, rng)
    tables = [rng.normal(size=level.shape[:-1]) for level in trees.probabilities]
    assert (greedy_values(trees, tables) <= optimal_values(trees) + 1e-12).all()
    assert greedy_values(trees, [table * 0 - np.inf for table in tables]) == pytest.approx(random_values(trees))
