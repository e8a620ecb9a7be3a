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
from badger.policies.policies import Policy, direct
from badger.rollouts.loop import rollout
from badger.rollouts.trajectory import Carry, Frames
from tasks import Task


def segmented(
    agent: Agent,
    task: Task,
    carry: Carry,
    rng: torch.Generator,
    policy: Policy = direct,
    *,
    steps: int,
    segment: int,
) -> tuple[Frames, Carry]:
    """What `rollout` gives, with the same values and gradients, in segments of so many steps.

    Raises:
        ValueError: steps or segment < 1.
    """
    if segment < 1:
        raise ValueError(f"segment={segment}, want at least 1")
    if segment >= steps:  # one segment alone would be played twice for nothing
        return rollout(agent, task, carry, rng, policy, steps=steps)

    def play(carry: Carry, before: torch.Generator, count: int) -> tuple[Frames, Carry, torch.Generator]:
        draws = before.clone_state()  # the second time must begin where the first one did
        frames, carry = rollout(agent, task, carry, draws, policy, steps=count)
        return frames, carry, draws

    pieces: list[Frames] = []
    for begun in range(0, steps, segment):
        count = min(segment, steps - begun)
        frames, carry, after = checkpoint(play, carry, rng.clone_state(), count, use_reentrant=False)
        rng.set_state(after.get_state())
        pieces.append(frames)
    return joined(pieces), carry


def joined(pieces: Sequence[Frames]) -> Frames:
    """Frames that follow each other, as one."""
    return Frames(*(_joined(list(field)) for field in zip(*pieces, strict=True)))


def _joined(parts: list[Any]) -> Any:
    """One field of several frames, end to end."""
    if isinstance(parts[0], dict):
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    return torch.cat(parts) if isinstance(parts[0], torch.Tensor) else [one for part in parts for one in part]
