"""Reference players of `Spread`: random actions, none, and a script that knows all positions.

Shapes: B episode, P agent, as many as landmarks.
"""

from functools import lru_cache
from itertools import permutations

import torch
from jaxtyping import Int
from torch import Tensor

from tasks.control.spread_physics import DAMPING, DIRECTIONS, OCCUPIED, TAU, SpreadState
from tasks.task import Task

MAX_ASSIGNED = 5  # agents for which all assignments to landmarks are compared


@lru_cache(maxsize=16)
def mean_returns(task: Task, episodes: int = 1000) -> dict[str, float]:
    """Mean returns of the reference players by name; of the script only for a few agents.

    Args:
        task: a `Spread`.
        episodes: simulated ones.
    """
    assert task.agents is not None
    rng, shape = torch.Generator().manual_seed(0), (episodes, task.agents)
    players = {
        "chance": lambda state: torch.randint(len(DIRECTIONS), shape, generator=rng),
        "nothing": lambda state: torch.zeros(shape, dtype=torch.long),
    } | ({"script": scripted_actions} if task.agents <= MAX_ASSIGNED else {})
    means = {}
    for name, act in players.items():
        state, step = task.reset(episodes, rng)
        for _ in range(task.steps):
            state, step = task.step(state, act(state), rng)
        means[name] = step.scores["episodic_return"].mean().item()
    return means


def scripted_actions(state: SpreadState) -> Int[Tensor, "B P"]:
    """Each agent pushes along the axis on which it would miss its landmark most.

    Args:
        state: of the episodes.
    """
    orders = torch.tensor(list(permutations(range(state.position.shape[1]))))  # (orders, P)
    distance = torch.linalg.vector_norm(state.position.unsqueeze(1) - state.landmarks[:, orders], dim=-1).sum(-1)
    goal = state.landmarks.gather(1, orders[distance.argmin(1)].unsqueeze(-1).expand(-1, -1, 2))
    miss = goal - state.position - state.velocity * TAU / DAMPING  # where it would come to rest
    axis = miss.abs().argmax(-1)
    along = miss.gather(-1, axis.unsqueeze(-1)).squeeze(-1)
    return torch.where(along.abs() < OCCUPIED / 2, 0, 1 + 2 * axis + (along > 0))
