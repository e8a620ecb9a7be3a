"""Episodes that continue across outer steps: their carry, running rewards. For actor-critic and Q-learning.

Shapes: T step, B episode, P agent of an environment with several agents (`Task.agents`).
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
    """The running episodes between two updates.

    Args:
        carry: environment and agent state of the rollout.
        episode_reward: reward of each episode so far; with several agents, that of each, and its number of actions.
    """

    carry: Carry
    episode_reward: Float[Tensor, "B *P2"]

    def advance(self, carry: Carry, episode_reward: Tensor) -> "EpisodeStream":
        """The same episodes after a rollout, detached from its graph.

        Args:
            carry: after the rollout.
            episode_reward: as that of the stream, after the rollout.
        """
        return EpisodeStream(detach_carry(carry), episode_reward)

    def pack(self) -> dict[str, Any]:
        """Plain types and tensors, for a checkpoint."""
        return {**pack_carry(self.carry), "episode_reward": self.episode_reward}


def open_stream(agent: Agent, task: Task, batch: int, rng: torch.Generator, experts: int) -> EpisodeStream:
    """A stream of new episodes.

    Args:
        agent: the acting agent.
        task: the environment.
        batch: number of episodes, B.
        rng: generator of the resets; gives the device.
        experts: number of experts.

    Raises:
        ValueError: rewards for each expert, in a task without several agents.
    """
    carry = initial_carry(agent, task, batch, rng, experts=experts)
    reward = carry.step.reward
    if reward.dim() > 1 and task.agents is None:
        raise ValueError(
            f"{type(task).__name__} returns a reward for each expert, {tuple(reward.shape)}, want one for the agent, "
            "(B,): return their mean, or set Task.agents where the environment has several agents"
        )
    return EpisodeStream(carry, torch.zeros_like(reward) if task.agents is None else reward.new_zeros(*reward.shape, 2))


def unpack_stream(packed: dict[str, Any], like: Carry) -> EpisodeStream:
    """The stream that `EpisodeStream.pack` packed.

    Args:
        packed: the dict of `EpisodeStream.pack`.
        like: a carry of new episodes of the same agent and task, of any batch size.
    """
    return EpisodeStream(unpack_carry(packed, like), packed["episode_reward"])


def pack_carry(carry: Carry) -> dict[str, Any]:
    """The carry as plain types and tensors, for a checkpoint.

    Args:
        carry: environment and agent state of a rollout.
    """
    return {
        "carry": states.pack(_to_pack(carry)),
        "elapsed": carry.elapsed,
        "episode_start": carry.episode_start,
        "policy_state": states.pack(carry.policy_state),
    }


def unpack_carry(packed: dict[str, Any], like: Carry) -> Carry:
    """The carry that `pack_carry` packed.

    Args:
        packed: the dict of `pack_carry`.
        like: a carry of new episodes of the same agent, task and policy, of any batch size.
    """
    env_state, step, agent_state = states.unpack(packed["carry"], _to_pack(like))
    policy_state = states.unpack(packed.get("policy_state", []), like.policy_state)  # 0.2 had no policy with a state
    step = step._replace(scores={})
    return Carry(env_state, step, agent_state, packed["elapsed"], packed["episode_start"], policy_state)


def episode_end_mask(trajectory: Trajectory, mask: Bool[Tensor, "T B *P"]) -> Bool[Tensor, "T B"]:
    """The steps in which an episode ended, for all of its agents.

    Args:
        trajectory: a rollout.
        mask: the valid steps; others end no episode.
    """
    done = trajectory.terminated | trajectory.truncated
    return done & mask if done.dim() == 2 else done.all(-1) & mask.any(-1)


def episode_returns(
    trajectory: Trajectory, mask: Bool[Tensor, "T B *P"], initial: Float[Tensor, "B *P2"]
) -> tuple[Float[Tensor, "T B"], Float[Tensor, "B *P2"]]:
    """Undiscounted reward of each step's episode up to that step; of several agents the mean of those that have acted.

    Args:
        trajectory: a rollout.
        mask: the valid steps.
        initial: of the running episodes before the rollout: the reward (B,); or of each agent the reward and the number
            of actions, (B, P, 2).

    Returns:
        The running sums, and what `initial` is of the next rollout.
    """
    reward = torch.where(mask, trajectory.reward, 0).detach()
    ended = episode_end_mask(trajectory, mask)
    if reward.dim() == 2:
        return returns.running_returns(reward, ended, initial)
    parts = torch.stack([reward, mask.to(reward.dtype)], -1)  # (T, B, P, 2)
    sums, carried = returns.running_returns(parts, ended[..., None, None].expand_as(parts), initial)
    total, acted = sums[..., 0].sum(-1), (sums[..., 1] > 0).sum(-1)
    return total / acted.clamp(min=1), carried


def any_agent(mask: Bool[Tensor, "T B *P"]) -> Bool[Tensor, "T B"]:
    """The steps that are valid for at least one agent.

    Args:
        mask: the valid steps, of each agent where there are several.
    """
    return mask.any(-1) if mask.dim() == 3 else mask


def _to_pack(carry: Carry) -> tuple:
    """The fields to pack: without host numbers, and without scores, which are in the metrics already."""
    return carry.env_state, carry.step._replace(scores=None), carry.agent_state  # type: ignore[arg-type]
