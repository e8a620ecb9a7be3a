"""Long inner loops: an episode in segments, so that autograd keeps only where each began (Chen et al. 2016).

Exact: the backward pass plays each segment once more, from the state in which it began and with the same draws. The
numbers that autograd keeps beyond the log itself then grow with T / segment + segment, for one more forward pass. What
grows with T are the nodes of the graph, some 70 KB a step however large the agent and the batch.
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
    """What `rollout` gives, with the same values and gradients, in segments of so many steps.

    Raises:
        ValueError: steps or segment < 1.
    """
    if grad_checkpoint_steps < 1:
        raise ValueError(f"grad_checkpoint_steps={grad_checkpoint_steps}, want at least 1")
    if grad_checkpoint_steps >= steps:  # one segment alone would be played twice for nothing
        return rollout(agent, task, carry, rng, policy, steps=steps)

    def play(carry: Carry, before: torch.Generator, count: int) -> tuple[Trajectory, Carry, torch.Generator]:
        draws = before.clone_state()  # the second time must begin where the first one did
        frames, carry = rollout(agent, task, carry, draws, policy, steps=count)
        return frames, carry, draws

    pieces: list[Trajectory] = []
    for begun in range(0, steps, grad_checkpoint_steps):
        count = min(grad_checkpoint_steps, steps - begun)
        frames, carry, after = checkpoint(play, carry, rng.clone_state(), count, use_reentrant=False)
        rng.set_state(after.get_state())
        pieces.append(frames)
    return concat_trajectories(pieces), carry


def concat_trajectories(pieces: Sequence[Trajectory]) -> Trajectory:
    """Frames that follow each other, as one."""
    return Trajectory(*(_concat_field(list(field)) for field in zip(*pieces, strict=True)))


def _concat_field(parts: list[Any]) -> Any:
    """One field of several frames, end to end."""
    if isinstance(parts[0], dict):
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    return torch.cat(parts) if isinstance(parts[0], torch.Tensor) else [one for part in parts for one in part]
