"""Inputs of an agent's core in episodes of random actions, to which a core may be fitted before training.

Shapes: T step, B episode, E expert, D input.
"""

from typing import Any

import torch
from torch import Tensor

from badger.agent import Agent
from badger.policies.policies import Sampled
from badger.rollouts.loop import rollout
from badger.rollouts.trajectory import initial_carry
from experts.state import State
from tasks import Task


@torch.no_grad()
def record_core_inputs(agent: Agent, task: Task, batch: int, steps: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Inputs (T, B, E, D) of a core under random actions, and where episodes start (T, B).

    Choices have equal probabilities, real numbers a standard normal distribution before they are scaled.

    Args:
        agent: its core is stepped, too, so that experts hear each other.
        task: the environment.
        batch: B.
        steps: T; further episodes follow where one ends.
        rng: the generator.

    Raises:
        ValueError: the core is called several times in a step.
    """
    sampled, xs = Sampled(task.action_space), []

    def at_random(
        output: Tensor, action_mask: Tensor | None, state: State, rng: torch.Generator
    ) -> tuple[Tensor, State]:
        return sampled(torch.zeros_like(output), action_mask, state, rng)

    def record(module: Any, arguments: tuple) -> None:
        xs.append(arguments[0])

    handle = agent.core.register_forward_pre_hook(record)
    try:
        carry = initial_carry(agent, task, batch, rng)
        trajectory, _ = rollout(agent, task, carry, rng, at_random, steps=steps, hook=lambda state: None)
    finally:
        handle.remove()
    if len(xs) != steps:
        raise ValueError(f"{len(xs)} inputs of the core in {steps} steps, want one in each: comm_rounds=1")
    return torch.stack(xs), trajectory.episode_start
