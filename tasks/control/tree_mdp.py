"""Tree MDP: a few choices with random outcomes lead to a leaf, which pays."""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from tasks.control.tree_mdp_tables import Trees, optimal_values, random_values, sample_trees
from tasks.observations import ObsPart
from tasks.task import Discrete, Step, Task, check_integer_action, check_positive

MAX_LEAVES = 10**6


class TreeMDPState(NamedTuple):
    """State of the walk from the root to a leaf.

    Args:
        node: its number: 0 for the root; branch i of node n is n * branches + 1 + i.
        path: the branch taken at each depth; -1 where none has been.
        t: the depth, the number of actions taken.
    """

    node: Int[Tensor, " B"]
    path: Int[Tensor, "B depth"]
    t: Int[Tensor, " B"]


@dataclass(frozen=True)
class TreeMDP(Task):
    """A tree of decisions: each of `actions` leads to one of its own `branching` successors; only leaves pay.

    The tree is the same in all episodes: outcome probabilities are Dirichlet(1), mean rewards of leaves standard
    normal. A model of the world is hard to learn from few episodes, while a good episode can be repeated at once.

    Observations (B, depth * actions * branching): for each depth a one-hot code of the branch that was taken, zeros
    where none has been.

    Score: `episodic_return`, at the end.

    Args:
        steps: the depth; derived.
        depth: number of choices.
        actions: of each node.
        branching: successors of each action.
        noise: standard deviation of a reward around the mean of its leaf.
        tree: the number of the tree, a seed.

    Raises:
        ValueError: a size below 1, a negative `noise` or `tree`, or more than a million leaves.

    Source: after Lengyel and Dayan 2007, "Hippocampal contributions to control: the third way".
    """

    steps: int = field(init=False, repr=False)
    depth: int = 3
    actions: int = 4
    branching: int = 2
    noise: float = 1.0
    tree: int = 0

    score: ClassVar[str] = "episodic_return"
    better: ClassVar[str] = "higher"

    def __post_init__(self) -> None:
        check_positive(depth=self.depth, actions=self.actions, branching=self.branching)
        for name, value in (("noise", self.noise), ("tree", self.tree)):
            if not value >= 0:
                raise ValueError(f"{name}={value}, want at least 0")
        if self.depth > 20 or self._branches**self.depth > MAX_LEAVES:
            raise ValueError(
                f"depth={self.depth}, actions={self.actions} and branching={self.branching} are "
                f"{self._branches}^{self.depth} leaves, want at most {MAX_LEAVES:,}, and a depth of at most 20"
            )
        object.__setattr__(self, "steps", self.depth)

    @property
    def _branches(self) -> int:
        return self.actions * self.branching

    @property
    def obs_size(self) -> int:
        return self.depth * self._branches

    @property
    def obs_parts(self) -> tuple[ObsPart, ...]:
        return (ObsPart("one_hot", (self.obs_size,)),)

    @property
    def action_space(self) -> Discrete:
        return Discrete(self.actions)

    @property
    def trees(self) -> Trees:
        """The tables of the one tree."""
        return _sample_tree(self.depth, self.actions, self.branching, self.tree)

    def reset(self, batch: int, rng: torch.Generator) -> tuple[TreeMDPState, Step]:
        zeros = torch.zeros(batch, dtype=torch.long, device=rng.device)
        path = torch.full((batch, self.depth), -1, device=rng.device)
        state = TreeMDPState(zeros, path, zeros)
        return state, self._make_step(state, torch.zeros(batch, dtype=self.dtype, device=rng.device))

    def step(self, state: TreeMDPState, action: Tensor, rng: torch.Generator) -> tuple[TreeMDPState, Step]:
        check_integer_action(self, action)
        cumulative, means = _tables(self.depth, self.actions, self.branching, self.tree, self.dtype, action.device)
        row = (state.node * self.actions + action).clamp(max=len(cumulative) - 1)  # of a leaf: any row
        u = torch.rand(row.shape, generator=rng, dtype=self.dtype, device=rng.device)
        outcome = (u.unsqueeze(-1) >= cumulative.index_select(0, row)).sum(-1)
        branch = action * self.branching + outcome
        now = torch.arange(self.depth, device=rng.device) == state.t.unsqueeze(-1)  # (B, depth)
        node = torch.where(state.t < self.depth, state.node * self._branches + 1 + branch, state.node)
        state = TreeMDPState(node, torch.where(now, branch.unsqueeze(-1), state.path), state.t + 1)
        drawn = torch.randn(row.shape, generator=rng, dtype=self.dtype, device=rng.device) * self.noise
        inner = len(cumulative) // self.actions
        return state, self._make_step(state, means.index_select(0, (node - inner).clamp(min=0)) + drawn)

    def _make_step(self, state: TreeMDPState, paid: Tensor) -> Step:
        """The step to a node; `paid` counts at a leaf."""
        done = state.t >= self.depth
        obs = state.path.unsqueeze(-1) == torch.arange(self._branches, device=state.t.device)
        scores = {"episodic_return": torch.where(done, paid, torch.nan)}
        reward = torch.where(done, paid, 0)
        return Step(obs.flatten(1).to(self.dtype), reward, done, torch.zeros_like(done), scores)

    def references(self) -> dict[str, dict[str, float]]:
        """Exact mean returns of random actions and of the optimal policy, by dynamic programming."""
        chance, optimum = random_values(self.trees).item(), optimal_values(self.trees).item()
        return {"episodic_return": {"chance": chance, "optimum": optimum}}


@lru_cache(maxsize=8)
def _sample_tree(depth: int, actions: int, branching: int, tree: int) -> Trees:
    return sample_trees(1, depth, actions, branching, np.random.default_rng(tree))


@lru_cache(maxsize=8)
def _tables(
    depth: int, actions: int, branching: int, tree: int, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Cumulative probabilities (S * A, B) of the nodes of all depths from the root on, and the means of the leaves."""
    trees = _sample_tree(depth, actions, branching, tree)
    rows = np.concatenate([level.reshape(-1, branching) for level in trees.probabilities]).cumsum(-1)
    rows[:, -1] = 1  # without rounding

    def tensor(table: np.ndarray) -> Tensor:
        return torch.as_tensor(table, dtype=dtype).to(device)

    return tensor(rows), tensor(trees.means[0])
