"""How well an agent does on episodes that it has never met, with its weights fixed."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from badger.agent import Agent, AgentState
from badger.policies.policies import Policy, identity_policy
from badger.rollouts.loop import rollout
from badger.rollouts.trajectory import Trajectory, first_episode_mask, initial_carry
from tasks import Task, init_fields

MAX_BATCH_EPISODES = 1024  # episodes played at once
MAX_PARALLEL_EXPERTS = 2**16  # experts in them, at most
MAX_EXTERNAL_ENVS = 64  # of a world that is not ours, at most


def cap_episodes(episodes: int, experts: int, crowd: int) -> int:
    """So many episodes, or as many as hold a crowd of experts in all, and one at least."""
    return max(1, min(episodes, crowd // max(1, experts)))


@contextmanager
def evaluation_mode(agent: Agent) -> Iterator[None]:
    """Evaluation mode and no gradients, for a while: gates and the like choose without chance."""
    training = agent.training
    agent.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        agent.train(training)


def evaluate(
    agent: Agent,
    task: Task,
    episodes: int | None,
    rng: torch.Generator,
    policy: Policy = identity_policy,
    *,
    experts: int | None = None,
    modify_state: Callable[[AgentState], AgentState] | None = None,
    hook: Callable[[AgentState], Any] | None = None,
) -> dict[str, Float[Tensor, " episodes"]]:
    """The task's scores, and the return, of each episode; the mean over the steps in which a score was due.

    Where episodes end early, a row counts up to its first end. In a world of several agents the return is the mean over
    those that acted in the episode.

    Args:
        episodes: how many are drawn; None: each one of a finite task, once and in order.
        rng: on the agent's device. experts: how many; None: as trained.
        modify_state: what is done to the agent before the first step: a lesion, silence, other edges.
        hook: called after each step; what it gives is not kept.

    Raises:
        ValueError: episodes < 1; None where the task is endless.
    """
    parts, size = (
        [],
        cap_episodes(MAX_BATCH_EPISODES, agent.experts if experts is None else experts, MAX_PARALLEL_EXPERTS),
    )
    for part, batch in _batches(task, episodes, size, rng.device):
        with evaluation_mode(agent):
            carry = initial_carry(agent, part, batch, rng, experts=experts)
            if modify_state is not None:
                carry = carry._replace(agent_state=modify_state(carry.agent_state))
            frames, _ = rollout(agent, part, carry, rng, policy, steps=part.steps, hook=hook)
        first = first_episode_mask(frames)
        scores = {name: torch.where(first, score, torch.nan).nanmean(0) for name, score in frames.scores.items()}
        parts.append(scores | {"return": _return(frames, first)})
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _return(frames: Trajectory, first: Bool[Tensor, "T B"]) -> Float[Tensor, " B"]:
    """Of each row's first episode; of several agents, the mean over those that acted in it."""
    if frames.reward.dim() == 2:
        return torch.where(first, frames.reward, 0).sum(0)
    counts = first.unsqueeze(-1) & frames.active
    total, there = torch.where(counts, frames.reward, 0).sum(0), counts.any(0)  # (B, P)
    return total.sum(-1) / there.sum(-1).clamp(min=1)


def _batches(task: Task, episodes: int | None, size: int, device: torch.device) -> Sequence[tuple[Task, int | Tensor]]:
    """What to play, and how many episodes to draw at a time, or the numbers of those to play."""
    if episodes is None:
        if task.num_episodes is None:
            raise ValueError(f"episodes=None: {type(task).__name__} is endless, want a number of episodes to draw")
        numbers = [(part, torch.arange(part.num_episodes or 0, device=device)) for part in task.buckets]
        return [(part, some) for part, every in numbers for some in every.split(size)]
    if episodes < 1:
        raise ValueError(f"episodes={episodes}, want at least 1")
    size = min(
        size, task.num_episodes or size, MAX_EXTERNAL_ENVS if task.external else size
    )  # no more at once than there are
    return [(task, min(size, episodes - done)) for done in range(0, episodes, size)]


def nan_mean_and_sem(values: Float[Tensor, " episodes"]) -> tuple[float, float]:
    """Mean and standard error over the episodes in which a score was due."""
    due = values[~values.isnan()].double()
    return due.mean().item(), due.std().item() / math.sqrt(len(due)) if len(due) > 1 else math.nan


def replace_fields(task: Task, **fields: Any) -> Task:
    """The same task of other sizes, or another split; None leaves a field as it is.

    Raises:
        ValueError: it does not have that field, or not that value of it.
    """
    wanted = {name: value for name, value in fields.items() if value is not None}
    has = init_fields(task)
    for name in wanted:
        if name not in has:
            raise ValueError(f"{type(task).__name__} has no {name} to change; it has {', '.join(has)}")
    return dataclasses.replace(task, **wanted)
