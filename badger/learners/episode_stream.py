"""Episodes that go on from one outer step to the next, and what is told of them. Learners by reward share it.

Shapes: T step, B episode, P agent of the world where it has several (`Task.agents`).
"""

from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from badger.agent import Agent
from badger.learners import returns
from badger.rollouts.trajectory import Carry, Trajectory, detach_carry, initial_carry
from experts import state as states
from tasks import Task


class EpisodeStream(NamedTuple):
    """Where the episodes stand between two updates. episode_reward: reward of each so far, of several agents their mean. known:
    the mean of those that ended last, NaN before any has."""

    carry: Carry
    episode_reward: Float[Tensor, " B"]
    last_return: Float[Tensor, ""]

    def advance(self, carry: Carry, total: Tensor, known: Tensor) -> "EpisodeStream":
        """The same episodes later on; no gradient goes further back."""
        return EpisodeStream(detach_carry(carry), total, known)

    def pack(self) -> dict[str, Any]:
        """Plain types and tensors, for a checkpoint."""
        return {**pack_carry(self.carry), "episode_reward": self.episode_reward, "last_return": self.last_return}


def open_stream(agent: Agent, task: Task, batch: int, rng: torch.Generator, experts: int) -> EpisodeStream:
    """New episodes.

    Raises:
        ValueError: rewards are told to each expert, who are not agents of the world.
    """
    carry = initial_carry(agent, task, batch, rng, experts=experts)
    reward = carry.step.reward
    if reward.dim() > 1 and task.agents is None:
        raise ValueError(
            f"{type(task).__name__} rewards each expert, {tuple(reward.shape)}, and the agent wants one reward, (B,): "
            "let the task give their mean, or say in Task.agents that it is a world of several agents"
        )
    total = reward.new_zeros(len(reward))
    return EpisodeStream(carry, total, torch.full_like(total[0], torch.nan))


def unpack_stream(kept: dict[str, Any], like: Carry) -> EpisodeStream:
    """The stream that was packed; like: new episodes of the same agent and task, of any batch."""
    return EpisodeStream(unpack_carry(kept, like), kept["total"], kept["known"])


def pack_carry(carry: Carry) -> dict[str, Any]:
    """Plain types and tensors, for a checkpoint."""
    return {"carry": states.pack(_plain(carry)), "elapsed": carry.elapsed, "episode_start": carry.episode_start}


def unpack_carry(kept: dict[str, Any], like: Carry) -> Carry:
    """The carry that was packed; like: of new episodes of the same agent and task, of any batch."""
    world, step, state = states.unpack(kept["carry"], _plain(like))
    return Carry(world, step._replace(scores={}), state, kept["elapsed"], kept["begun"])


def episode_end_mask(frames: Trajectory, counts: Bool[Tensor, "T B *P"]) -> Bool[Tensor, "T B"]:
    """The steps in which a row's episode ended, for all its agents."""
    over = frames.terminated | frames.truncated
    return over & counts if over.dim() == 2 else over.all(-1) & counts.any(-1)


def episode_returns(
    frames: Trajectory, counts: Bool[Tensor, "T B *P"], before: Float[Tensor, " B"]
) -> tuple[Tensor, Tensor]:
    """`returns.totals` of the steps that count; of several agents the mean."""
    reward = torch.where(counts, frames.reward, 0).detach()
    return returns.running_returns(
        reward.mean(-1) if reward.dim() == 3 else reward, episode_end_mask(frames, counts), before
    )


def any_agent(counts: Bool[Tensor, "T B *P"]) -> Bool[Tensor, "T B"]:
    """The steps of each row in which anybody counts."""
    return counts.any(-1) if counts.dim() == 3 else counts


def _plain(carry: Carry) -> tuple:
    """What is packed of it: all but numbers of the host, and scores, which have been told."""
    return carry.env_state, carry.step._replace(scores=None), carry.agent_state  # type: ignore[arg-type]
