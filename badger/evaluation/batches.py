"""Batches of evaluation episodes: how many fit side by side, and whether they fit into memory.

Shapes: B episode.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from badger.agent import Agent
from badger.host_memory import check_fits
from badger.rollouts.footprint import state_bytes, trajectory_bytes
from tasks import Task

MAX_BATCH_EPISODES = 1024
"""Maximum number of episodes in a batch."""
MAX_PARALLEL_EXPERTS = 2**16
"""Maximum number of experts in all episodes of a batch."""
MAX_EXTERNAL_ENVS = 64
"""Maximum number of external environments in a batch."""


def cap_episodes(episodes: int, experts: int, max_experts: int) -> int:
    """The number of episodes, limited by the number of experts in all of them; at least 1.

    Args:
        episodes: the wanted number.
        experts: in each episode.
        max_experts: in all episodes.
    """
    return max(1, min(episodes, max_experts // max(1, experts)))


def batch_size(experts: int) -> int:
    """The maximum number of episodes in a batch.

    Args:
        experts: in each episode.
    """
    return cap_episodes(MAX_BATCH_EPISODES, experts, MAX_PARALLEL_EXPERTS)


def split_episodes(
    task: Task, episodes: int | None, experts: int, device: torch.device
) -> Sequence[tuple[Task, int | Tensor]]:
    """Tasks, each with the number of episodes to sample, or with indices of episodes: a batch each.

    Args:
        task: the task.
        episodes: number of sampled episodes; None: all episodes of a finite task, in order.
        experts: in each episode.
        device: of the indices.

    Raises:
        ValueError: episodes < 1, or None for an endless task.
    """
    size = batch_size(experts)
    if episodes is None:
        if task.num_episodes is None:
            raise ValueError(f"episodes=None: {type(task).__name__} is endless, want a number of episodes to sample")
        indices = [(part, torch.arange(part.num_episodes or 0, device=device)) for part in task.buckets]
        return [(part, batch) for part, index in indices for batch in index.split(size)]
    if episodes < 1:
        raise ValueError(f"episodes={episodes}, want at least 1")
    size = min(size, task.num_episodes or size, MAX_EXTERNAL_ENVS if task.external else size)
    return [(task, min(size, episodes - start)) for start in range(0, episodes, size)]


def check_memory(agent: Agent, task: Task, episodes: int | None, *, experts: int) -> None:
    """Checks that the states and recorded steps of a batch, and all scores, fit into the memory of the device.

    Args:
        agent: the agent, with the core that is evaluated.
        task: the task, with the sizes that are evaluated.
        episodes: number of sampled episodes; None: all of a finite task.
        experts: in each episode.

    Raises:
        ValueError: they do not fit. Sizes that the core refuses are left to its own error, in the first step.
    """
    device = next(agent.parameters()).device
    batch = min(batch_size(experts), episodes or MAX_BATCH_EPISODES)
    try:
        needed = state_bytes(agent.core, agent.bus, batch=batch, experts=experts)
    except ValueError:
        return
    needed += trajectory_bytes(task, batch=batch, steps=task.steps, obs=False)
    check_fits(needed, f"{batch} episodes of {task.steps} steps with {experts} experts", device)
    check_fits((episodes or 0) * task.dtype.itemsize, f"the scores of {episodes} episodes", device)
