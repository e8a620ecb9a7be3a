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
from badger.learners.q_learning.replay import SequenceBatch, Transitions
from badger.learners.q_learning.sequences import SequenceBuilder, SequenceSpec, recurrent_state
from badger.learners.update import masked
from badger.policies.policies import Policy
from badger.rollouts.loop import rollout
from badger.rollouts.trajectory import Carry, Trajectory, initial_carry
from tasks import Task


class Collector:
    """Where the episodes of `select` rows stand, and the sequences that are cut of them.

    episode_reward: reward of each row's episode so far. last_return: the mean of those that ended last, NaN before any has.

    Raises:
        ValueError: the task rewards each expert.
    """

    def __init__(self, agent: Agent, task: Task, cut: SequenceSpec, *, rows: int, experts: int, rng: torch.Generator):
        self.agent, self.task = agent, task
        self.carry = initial_carry(agent, task, rows, rng, experts=experts)
        self.episode_reward = torch.zeros_like(self.carry.step.reward)
        if self.episode_reward.dim() > 1:
            raise ValueError(
                f"{type(task).__name__} rewards each expert, {tuple(self.episode_reward.shape)}, and Q-learning wants one "
                "reward for the agent, (B,): let the task give their mean"
            )
        self.builder, self.last_return = SequenceBuilder(cut, rows), torch.full_like(self.episode_reward[0], torch.nan)

    def collect(
        self, steps: int, policy: Policy, rng: torch.Generator
    ) -> tuple[Trajectory, SequenceBatch | None, Float[Tensor, " 2"]]:
        """So many steps on, or fewer where episodes of fixed length end: what happened, the sequences that are complete
        now, and the rewards of the episodes that ended, their sum and number."""
        left = self.task.steps - self.carry.elapsed % self.task.steps if self.task.fixed_length else steps
        before = self.carry.agent_state
        with torch.no_grad():
            frames, self.carry = rollout(
                self.agent, self.task, self.carry, rng, policy, steps=min(steps, left), hook=lambda state: state
            )
        over = self.task.fixed_length and self.carry.elapsed == self.task.steps
        found = self.builder.add(*_to_transitions(frames, [before, *frames.hook_outputs], self.carry if over else None))
        frames = masked(frames, frames.valid)._replace(hook_outputs=[])  # nobody watches any more
        ended = (frames.terminated | frames.truncated) & frames.valid
        sums, self.episode_reward = returns.running_returns(
            torch.where(frames.valid, frames.reward, 0), ended, self.episode_reward
        )
        return frames, found, torch.stack([torch.where(ended, sums, 0).sum(), ended.sum().to(sums.dtype)])

    def mean_return(self, ended: Float[Tensor, ""]) -> Float[Tensor, ""]:
        """The mean total reward of the episodes that ended now, or if none has (NaN) last, or so far."""
        self.last_return = torch.where(ended.isnan(), self.last_return, ended)
        return torch.where(self.last_return.isnan(), self.episode_reward.mean(), self.last_return)

    def pack(self) -> dict[str, Any]:
        """Plain types and tensors only. Where worlds that are not ours stand cannot be told (`Task.external`): of those
        what was counted."""
        if self.task.external:
            return {
                "carry": None,
                "episode_reward": self.episode_reward,
                "last_return": self.last_return,
                "env_steps": self.builder.env_steps,
            }
        return {
            **stream.pack_carry(self.carry),
            "episode_reward": self.episode_reward,
            "last_return": self.last_return,
            "builder": self.builder.pack(),
        }

    def unpack(self, packed: dict[str, Any]) -> None:
        """From where `pack` was called; worlds that are not ours stay where they have just been opened."""
        if packed["carry"] is None:
            self.last_return, self.builder.env_steps = packed["known"], packed["made"]
            return
        like = recurrent_state(self.carry.agent_state)
        self.carry = stream.unpack_carry(packed, self.carry)
        self.episode_reward, self.last_return = packed["total"], packed["known"]
        self.builder.unpack(packed["trail"], like)


def _to_transitions(
    frames: Trajectory, lived: list[AgentState], end: Carry | None
) -> tuple[Transitions, list[AgentState]]:
    """What a trail is told; with the last observation of episodes of fixed length, of which no frame is made."""
    legal = torch.stack(frames.action_masks) if frames.action_masks else None
    steps = Transitions(
        frames.obs,
        frames.action,
        frames.reward,
        frames.terminated,
        frames.valid,
        frames.episode_start & frames.valid,
        legal,
    )
    if end is None:
        return steps, lived
    parts = [None if part is None else torch.cat([part, torch.zeros_like(part[:1])]) for part in steps]
    more = Transitions(*parts)  # type: ignore[arg-type]
    more.obs[-1] = end.step.obs
    if more.action_mask is not None and end.step.action_mask is not None:
        more.action_mask[-1] = end.step.action_mask
    return more, [*lived, end.agent_state]
