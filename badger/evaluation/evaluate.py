"""Evaluation of an agent with fixed weights on new episodes: scores and returns."""

import dataclasses
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from tqdm import tqdm

from badger.agent import Agent, AgentState
from badger.evaluation.batches import check_memory, split_episodes
from badger.policies.deterministic import choose_deterministic
from badger.policies.policies import Policy, identity_policy
from badger.rng import seeded_generator
from badger.rollouts.loop import rollout
from badger.rollouts.trajectory import Trajectory, first_episode_mask, initial_carry
from tasks import Task, init_fields


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
    deterministic: bool | None = None,
    experts: int | None = None,
    modify_state: Callable[[AgentState], AgentState] | None = None,
    hook: Callable[[AgentState], Any] | None = None,
    progress: bool = False,
) -> dict[str, Float[Tensor, " episodes"]]:
    """Scores and return of an agent in each of a number of new episodes.

    A score is the mean over the steps of an episode at which the task gives one. Of each row the first episode counts,
    and a batch is played until all of these have ended. In an environment of several agents the return is the mean over
    the agents that acted.

    Args:
        agent: the agent.
        task: the task.
        episodes: number of sampled episodes; None: all episodes of a finite task, in order.
        rng: the generator, on the agent's device.
        policy: from outputs to actions.
        deterministic: True: the most likely actions of the policy; False: sampled ones; None: the policy as it is.
        experts: number of experts; None: as the agent was built.
        modify_state: applied to the initial state of the agent: lesions, silencing, other edges.
        hook: called with the agent's state after each step; its results are not kept.
        progress: show a progress bar over the steps of all batches, if standard error is a terminal.

    Returns:
        Each score of the task, and `return`, by name.

    Raises:
        ValueError: episodes < 1, or None for an endless task; `deterministic` of a policy that does not sample.
    """
    policy, parts = choose_deterministic(policy, deterministic), []
    batches = split_episodes(task, episodes, agent.experts if experts is None else experts, rng.device)
    longest = sum(part.steps for part, _ in batches)
    with tqdm(total=longest, unit="step", desc="evaluation", leave=False, disable=None if progress else True) as bar:
        for done, (part, batch) in enumerate(batches, 1):
            with evaluation_mode(agent):
                carry = initial_carry(agent, part, batch, rng, experts=experts)
                if modify_state is not None:
                    carry = carry._replace(agent_state=modify_state(carry.agent_state))
                trajectory, _ = rollout(
                    agent, part, carry, rng, policy,
                    steps=part.steps, first_episodes=True, keep_obs=False, hook=hook, on_step=bar.update,
                )  # fmt: skip
            bar.update(sum(part.steps for part, _ in batches[:done]) - bar.n)  # a batch may end early
            parts.append(_episode_scores(trajectory))
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
    check_memory(agent, task, episodes, experts=experts)
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


def _episode_scores(trajectory: Trajectory) -> dict[str, Float[Tensor, " B"]]:
    """The mean score and the return of each row's first episode."""
    first = first_episode_mask(trajectory)
    scores = {name: torch.where(first, score, torch.nan).nanmean(0) for name, score in trajectory.scores.items()}
    return scores | {"return": _return(trajectory, first)}


def _return(trajectory: Trajectory, first: Bool[Tensor, "T B"]) -> Float[Tensor, " B"]:
    """The return of each row's first episode; with several agents, the mean over those that acted in it."""
    if trajectory.reward.dim() == 2:
        return torch.where(first, trajectory.reward, 0).sum(0)
    mask = first.unsqueeze(-1) & trajectory.active
    total, acted = torch.where(mask, trajectory.reward, 0).sum(0), mask.any(0)  # (B, P)
    return total.sum(-1) / acted.sum(-1).clamp(min=1)


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
