"""Gradient checkpointing over time: a long rollout in segments, for which autograd keeps only the initial states.

Exact: the backward pass repeats the rollout of each segment from its initial state with the same random numbers. For
one additional forward pass, the memory of autograd, beyond that of an append-only memory, grows with T / segment +
segment instead of T. The nodes of the graph still grow with T: some 70 KB a step, whatever the sizes of agent and
batch.

Source: Chen et al. 2016 (arXiv:1604.06174).
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from badger.agent import Agent
from badger.policies.policies import Policy, identity_policy
from badger.rollouts.loop import rollout
from badger.rollouts.trajectory import Carry, Trajectory
from tasks import Task


def checkpointed_rollout(
    agent: Agent,
    task: Task,
    carry: Carry,
    rng: torch.Generator,
    policy: Policy = identity_policy,
    *,
    steps: int,
    grad_checkpoint_steps: int,
) -> tuple[Trajectory, Carry]:
    """The same values and gradients as `rollout`, with gradient checkpointing.

    Args:
        agent: as in `rollout`.
        task: as in `rollout`.
        carry: as in `rollout`.
        rng: as in `rollout`.
        policy: as in `rollout`.
        steps: T.
        grad_checkpoint_steps: length of a segment.

    Raises:
        ValueError: steps or grad_checkpoint_steps < 1.
    """
    if grad_checkpoint_steps < 1:
        raise ValueError(f"grad_checkpoint_steps={grad_checkpoint_steps}, want at least 1")
    if grad_checkpoint_steps >= steps:  # a single segment would be repeated without saving memory
        return rollout(agent, task, carry, rng, policy, steps=steps)

    def run_segment(
        carry: Carry, initial_rng: torch.Generator, length: int
    ) -> tuple[Trajectory, Carry, torch.Generator]:
        segment_rng = initial_rng.clone_state()  # the repeated segment must start from the same state
        trajectory, carry = rollout(agent, task, carry, segment_rng, policy, steps=length)
        return trajectory, carry, segment_rng

    segments: list[Trajectory] = []
    for start in range(0, steps, grad_checkpoint_steps):
        length = min(grad_checkpoint_steps, steps - start)
        trajectory, carry, final_rng = checkpoint(run_segment, carry, rng.clone_state(), length, use_reentrant=False)
        rng.set_state(final_rng.get_state())
        segments.append(trajectory)
    return concat_trajectories(segments), carry


def concat_trajectories(segments: Sequence[Trajectory]) -> Trajectory:
    """Concatenates consecutive trajectories along time.

    Args:
        segments: of the same episodes, in order.
    """
    return Trajectory(*(_concat_field(list(field)) for field in zip(*segments, strict=True)))


def _concat_field(parts: list[Any]) -> Any:
    """Concatenates one field of several trajectories."""
    if isinstance(parts[0], dict):
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    return torch.cat(parts) if isinstance(parts[0], torch.Tensor) else [item for part in parts for item in part]
