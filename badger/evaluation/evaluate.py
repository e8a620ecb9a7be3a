"""Evaluation of an agent with fixed weights on new episodes: scores and returns."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from badger.agent import Agent, AgentState
from badger.host_memory import check_fits
from badger.policies.policies import Policy, identity_policy
from badger.rng import seeded_generator
from badger.rollouts.footprint import state_bytes, trajectory_bytes
from badger.rollouts.loop import rollout
from badger.rollouts.trajectory import Trajectory, first_episode_mask, initial_carry
from tasks import Task, init_fields

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


@contextmanager
def evaluation_mode(agent: Agent) -> Iterator[None]:
    """Context with the agent in evaluation mode and without gradients: gates are deterministic.

    Args:
        agent: the agent, whose mode is restored on exit.
    """
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
    """Scores and return of an agent in each of a number of new episodes.

    A score is the mean over the steps of an episode at which the task gives one. Of rows that start a new episode
    early, the first episode counts. In an environment of several agents the return is the mean over the agents that
    acted.

    Args:
        agent: the agent.
        task: the task.
        episodes: number of sampled episodes; None: all episodes of a finite task, in order.
        rng: the generator, on the agent's device.
        policy: from outputs to actions.
        experts: number of experts; None: as the agent was built.
        modify_state: applied to the initial state of the agent: lesions, silencing, other edges.
        hook: called with the agent's state after each step; its results are not kept.

    Returns:
        Each score of the task, and `return`, by name.

    Raises:
        ValueError: episodes < 1, or None for an endless task.
    """
    parts = []
    size = cap_episodes(MAX_BATCH_EPISODES, agent.experts if experts is None else experts, MAX_PARALLEL_EXPERTS)
    for part, batch in _batches(task, episodes, size, rng.device):
        with evaluation_mode(agent):
            carry = initial_carry(agent, part, batch, rng, experts=experts)
            if modify_state is not None:
                carry = carry._replace(agent_state=modify_state(carry.agent_state))
            trajectory, _ = rollout(agent, part, carry, rng, policy, steps=part.steps, keep_obs=False, hook=hook)
        first = first_episode_mask(trajectory)
        scores = {name: torch.where(first, score, torch.nan).nanmean(0) for name, score in trajectory.scores.items()}
        parts.append(scores | {"return": _return(trajectory, first)})
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def check_evaluation(
    agent: Agent, task: Task, episodes: int | None, policy: Policy = identity_policy, *, experts: int
) -> None:
    """Checks the arguments of `evaluate` by one step of one episode.

    Args:
        agent: the agent.
        task: the task.
        episodes: number of sampled episodes; None: all episodes of a finite task.
        policy: from outputs to actions.
        experts: number of experts.

    Raises:
        ValueError: a number below 1, a number of experts that a part of the agent refuses, or sizes that do not fit
            into the memory of the device.
    """
    for name, size in {"experts": experts, "episodes": episodes}.items():
        if size is not None and size < 1:
            raise ValueError(f"{name}={size}, want at least 1")
    device = next(agent.parameters()).device
    batch = min(cap_episodes(MAX_BATCH_EPISODES, experts, MAX_PARALLEL_EXPERTS), episodes or MAX_BATCH_EPISODES)
    states = state_bytes(agent.core, agent.bus, batch=batch, experts=experts)
    recorded = trajectory_bytes(task, batch=batch, steps=task.steps, obs=False)
    check_fits(states + recorded, f"{batch} episodes of {task.steps} steps with {experts} experts", device)
    check_fits((episodes or 0) * task.dtype.itemsize, f"the scores of {episodes} episodes", device)
    check_step(agent, task, policy, experts=experts)


def check_step(agent: Agent, task: Task, policy: Policy = identity_policy, *, experts: int | None = None) -> None:
    """Checks that an agent can act in a task, by one step of one episode.

    Args:
        agent: the agent.
        task: the task.
        policy: from outputs to actions.
        experts: number of experts; None: as the agent was built.

    Raises:
        ValueError: sizes that do not fit.
    """
    rng = seeded_generator(0, next(agent.parameters()).device)
    with evaluation_mode(agent):
        rollout(agent, task, initial_carry(agent, task, 1, rng, experts=experts), rng, policy, steps=1)


def _return(trajectory: Trajectory, first: Bool[Tensor, "T B"]) -> Float[Tensor, " B"]:
    """The return of each row's first episode; with several agents, the mean over those that acted in it."""
    if trajectory.reward.dim() == 2:
        return torch.where(first, trajectory.reward, 0).sum(0)
    mask = first.unsqueeze(-1) & trajectory.active
    total, acted = torch.where(mask, trajectory.reward, 0).sum(0), mask.any(0)  # (B, P)
    return total.sum(-1) / acted.sum(-1).clamp(min=1)


def _batches(task: Task, episodes: int | None, size: int, device: torch.device) -> Sequence[tuple[Task, int | Tensor]]:
    """Tasks, each with the number of episodes to sample, or with indices of episodes."""
    if episodes is None:
        if task.num_episodes is None:
            raise ValueError(f"episodes=None: {type(task).__name__} is endless, want a number of episodes to sample")
        indices = [(part, torch.arange(part.num_episodes or 0, device=device)) for part in task.buckets]
        return [(part, batch) for part, index in indices for batch in index.split(size)]
    if episodes < 1:
        raise ValueError(f"episodes={episodes}, want at least 1")
    size = min(size, task.num_episodes or size, MAX_EXTERNAL_ENVS if task.external else size)
    return [(task, min(size, episodes - start)) for start in range(0, episodes, size)]


def nan_mean_and_sem(values: Float[Tensor, " episodes"]) -> tuple[float, float]:
    """Mean and standard error of the mean, without NaN; the standard error of a single value is NaN.

    Args:
        values: a score of each episode, NaN where there is none.
    """
    valid = values[~values.isnan()].double()
    return valid.mean().item(), valid.std().item() / math.sqrt(len(valid)) if len(valid) > 1 else math.nan


def replace_fields(task: Task, **fields: Any) -> Task:
    """A task with some fields replaced, such as its sizes or data split.

    Args:
        task: the task.
        **fields: new values; None: unchanged.

    Raises:
        ValueError: a field that the task does not have, or an invalid value.
    """
    changes = {name: value for name, value in fields.items() if value is not None}
    valid_names = init_fields(task)
    for name in changes:
        if name not in valid_names:
            raise ValueError(f"{type(task).__name__} has no {name} to change; it has {', '.join(valid_names)}")
    return dataclasses.replace(task, **changes)
