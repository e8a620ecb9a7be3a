"""A stream of episodes as an agent lives it, one after another in each row, without gradient.

Shapes: T step, B row.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from badger.agent import Agent, AgentState
from badger.learners import episode_stream as stream
from badger.learners import returns
from badger.learners.q_learning.replay import Sequences, Steps
from badger.learners.q_learning.sequences import Cut, Trail, knowledge
from badger.learners.update import due
from badger.policies.policies import Policy
from badger.rollouts.loop import rollout
from badger.rollouts.trajectory import Carry, Frames, start
from tasks import Task


class Lived:
    """Where the episodes of `rows` rows stand, and the sequences that are cut of them.

    total: reward of each row's episode so far. known: the mean of those that ended last, NaN before any has.

    Raises:
        ValueError: the task rewards each expert.
    """

    def __init__(self, agent: Agent, task: Task, cut: Cut, *, rows: int, experts: int, rng: torch.Generator):
        self.agent, self.task = agent, task
        self.carry = start(agent, task, rows, rng, experts=experts)
        self.total = torch.zeros_like(self.carry.step.reward)
        if self.total.dim() > 1:
            raise ValueError(
                f"{type(task).__name__} rewards each expert, {tuple(self.total.shape)}, and Q-learning wants one "
                "reward for the agent, (B,): let the task give their mean"
            )
        self.trail, self.known = Trail(cut, rows), torch.full_like(self.total[0], torch.nan)

    def on(
        self, steps: int, policy: Policy, rng: torch.Generator
    ) -> tuple[Frames, Sequences | None, Float[Tensor, " 2"]]:
        """So many steps on, or fewer where episodes of fixed length end: what happened, the sequences that are complete
        now, and the rewards of the episodes that ended, their sum and number."""
        left = self.task.steps - self.carry.elapsed % self.task.steps if self.task.fixed_length else steps
        before = self.carry.state
        with torch.no_grad():
            frames, self.carry = rollout(
                self.agent, self.task, self.carry, rng, policy, steps=min(steps, left), watch=lambda state: state
            )
        over = self.task.fixed_length and self.carry.elapsed == self.task.steps
        found = self.trail.add(*_whole(frames, [before, *frames.watched], self.carry if over else None))
        frames = due(frames, frames.valid)._replace(watched=[])  # nobody watches any more
        ended = (frames.terminated | frames.truncated) & frames.valid
        sums, self.total = returns.totals(torch.where(frames.valid, frames.reward, 0), ended, self.total)
        return frames, found, torch.stack([torch.where(ended, sums, 0).sum(), ended.sum().to(sums.dtype)])

    def returned(self, ended: Float[Tensor, ""]) -> Float[Tensor, ""]:
        """The mean total reward of the episodes that ended now, or if none has (NaN) last, or so far."""
        self.known = torch.where(ended.isnan(), self.known, ended)
        return torch.where(self.known.isnan(), self.total.mean(), self.known)

    def pack(self) -> dict[str, Any]:
        """Plain types and tensors only. Where worlds that are not ours stand cannot be told (`Task.outside`): of those
        what was counted."""
        if self.task.outside:
            return {"carry": None, "total": self.total, "known": self.known, "made": self.trail.made}
        return {
            **stream.packed(self.carry),
            "total": self.total,
            "known": self.known,
            "trail": self.trail.pack(),
        }

    def unpack(self, packed: dict[str, Any]) -> None:
        """From where `pack` was called; worlds that are not ours stay where they have just been opened."""
        if packed["carry"] is None:
            self.known, self.trail.made = packed["known"], packed["made"]
            return
        like = knowledge(self.carry.state)
        self.carry = stream.unpacked(packed, self.carry)
        self.total, self.known = packed["total"], packed["known"]
        self.trail.unpack(packed["trail"], like)


def _whole(frames: Frames, lived: list[AgentState], end: Carry | None) -> tuple[Steps, list[AgentState]]:
    """What a trail is told; with the last observation of episodes of fixed length, of which no frame is made."""
    legal = torch.stack(frames.legal) if frames.legal else None
    steps = Steps(
        frames.obs, frames.action, frames.reward, frames.terminated, frames.valid, frames.begun & frames.valid, legal
    )
    if end is None:
        return steps, lived
    parts = [None if part is None else torch.cat([part, torch.zeros_like(part[:1])]) for part in steps]
    more = Steps(*parts)  # type: ignore[arg-type]
    more.obs[-1] = end.step.obs
    if more.legal is not None and end.step.legal is not None:
        more.legal[-1] = end.step.legal
    return more, [*lived, end.state]
