"""The collector of replay sequences: rolls out running episodes without gradient and cuts them into pieces.

Shapes: T step, B row.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from badger.agent import Agent, AgentState
from badger.learners import host, returns
from badger.learners.episode_stream import pack_carry, unpack_carry
from badger.learners.q_learning.replay import ReplayBuffer, SequenceBatch, Transitions
from badger.learners.q_learning.sequences import SequenceBuilder, SequenceSpec, recurrent_state
from badger.learners.update import masked
from badger.policies.policies import Policy
from badger.rollouts.loop import rollout
from badger.rollouts.trajectory import Carry, Trajectory, initial_carry, stack_steps
from tasks import Task

Piece: TypeAlias = tuple[Transitions, list[AgentState]]  # of the stream: T steps, T + 1 states
Returns: TypeAlias = tuple[Tensor, Tensor]  # (T, B) running return of each step; whether the episode ended there


class Collector:
    """The running episodes of a learner, and the builder that cuts them into sequences.

    `episode_reward` (B,) is the reward of each running episode so far; `last_return` the mean return of the episodes
    that ended last, NaN before any has ended.

    Args:
        agent: the acting agent.
        task: the environment.
        spec: lengths of the sequences.
        rows: parallel episodes, B.
        experts: number of experts.
        rng: generator of the first resets; gives the device.

    Raises:
        ValueError: a task with a reward for each expert.
    """

    def __init__(self, agent: Agent, task: Task, spec: SequenceSpec, *, rows: int, experts: int, rng: torch.Generator):
        self.agent, self.task = agent, task
        self.carry = initial_carry(agent, task, rows, rng, experts=experts)
        self.episode_reward = torch.zeros_like(self.carry.step.reward)
        if self.episode_reward.dim() > 1:
            raise ValueError(
                f"{type(task).__name__} returns a reward for each expert, {tuple(self.episode_reward.shape)}, and "
                "sequences for replay want one for the agent, (B,): return their mean"
            )
        self.builder, self.last_return = SequenceBuilder(spec, rows), torch.full_like(self.episode_reward[0], torch.nan)

    def fill(
        self, replay_buffer: ReplayBuffer, policy: Policy, rng: torch.Generator, *, horizon: int, prefill: int
    ) -> tuple[list[Trajectory], Returns]:
        """Rolls out episodes for an outer step, and adds the sequences that are complete to a replay buffer.

        Args:
            replay_buffer: where they go.
            policy: chooses the actions.
            rng: generator of agent, task and policy.
            horizon: steps of each row, at least.
            prefill: sequences that are to be in the buffer; as many more steps are made, before the first update.

        Returns:
            The trajectories; the running returns of all their steps, and where episodes ended.
        """
        trajectories, ended, pieces, steps = [], [], [], 0
        while steps < horizon:
            trajectory, piece, returned = self.rollout(horizon - steps, policy, rng)
            trajectories.append(trajectory)
            pieces.append(piece)
            ended.append(returned)
            steps += len(trajectory.obs)
        complete = self.cut(pieces)
        while True:
            for sequences in complete:
                if sequences is not None:
                    replay_buffer.add(sequences)
            if len(replay_buffer) >= prefill:
                sums, ends = map(torch.cat, zip(*ended, strict=True))
                return trajectories, (sums, ends)
            trajectory, new, returned = self.collect(horizon - steps % horizon, policy, rng)
            complete = [new]
            trajectories.append(trajectory)
            ended.append(returned)
            steps += len(trajectory.obs)

    def collect(
        self, steps: int, policy: Policy, rng: torch.Generator
    ) -> tuple[Trajectory, SequenceBatch | None, Returns]:
        """`rollout` and `cut` of one piece: the trajectory, the complete sequences, and the returns."""
        trajectory, piece, ended = self.rollout(steps, policy, rng)
        return trajectory, self.cut([piece])[0], ended

    def rollout(self, steps: int, policy: Policy, rng: torch.Generator) -> tuple[Trajectory, Piece, Returns]:
        """Rolls out the running episodes, up to the end of an episode of fixed length.

        Args:
            steps: steps of each row at most.
            policy: chooses the actions.
            rng: generator of agent, task and policy.

        Returns:
            The trajectory; the piece of the stream to be passed to `cut`; the running returns of each step, and where
            episodes ended.
        """
        remaining = self.task.steps - self.carry.elapsed % self.task.steps if self.task.fixed_length else steps
        initial_state = self.carry.agent_state
        with torch.no_grad():
            trajectory, self.carry = rollout(
                self.agent, self.task, self.carry, rng, policy, steps=min(steps, remaining), hook=lambda state: state
            )
        agent_states = [initial_state, *trajectory.hook_outputs]
        at_end = self.task.fixed_length and self.carry.elapsed == self.task.steps
        piece = _to_transitions(trajectory, agent_states, self.carry if at_end else None)
        trajectory = masked(trajectory, trajectory.valid)._replace(hook_outputs=[])  # the states stay in the piece only
        ended = (trajectory.terminated | trajectory.truncated) & trajectory.valid
        sums, self.episode_reward = returns.running_returns(
            torch.where(trajectory.valid, trajectory.reward, 0), ended, self.episode_reward
        )
        return trajectory, piece, (sums, ended)

    def cut(self, pieces: list[Piece]) -> list[SequenceBatch | None]:
        """The sequences that are complete after each of consecutive pieces; their masks go to the host at once.

        Args:
            pieces: of `rollout`, in order.
        """
        lengths = [len(transitions.valid) for transitions, _ in pieces]
        valid = host.to_host(torch.cat([transitions.valid for transitions, _ in pieces]))
        masks = np.split(valid, np.cumsum(lengths)[:-1])
        return [self.builder.add(*piece, mask) for piece, mask in zip(pieces, masks, strict=True)]

    def mean_return(self, ended_return: Float[Tensor, ""]) -> Float[Tensor, ""]:
        """The metric `return`: of the episodes that ended now, else of the last ones, else of the running episodes.

        Args:
            ended_return: mean return of the episodes that ended in this update, NaN if none.
        """
        self.last_return = torch.where(ended_return.isnan(), self.last_return, ended_return)
        return torch.where(self.last_return.isnan(), self.episode_reward.mean(), self.last_return)

    def pack(self) -> dict[str, Any]:
        """Plain types and tensors, for a checkpoint; of an external environment (`Task.external`) only counters."""
        if self.task.external:
            return {
                "carry": None,
                "episode_reward": self.episode_reward,
                "last_return": self.last_return,
                "env_steps": self.builder.env_steps,
            }
        return {
            **pack_carry(self.carry),
            "episode_reward": self.episode_reward,
            "last_return": self.last_return,
            "builder": self.builder.pack(),
        }

    def unpack(self, packed: dict[str, Any]) -> None:
        """Restores a packed collector; an external environment keeps the episodes that it has just reset.

        Args:
            packed: the dict of `pack`.
        """
        self.last_return = packed["last_return"]
        if packed["carry"] is None:
            self.builder.env_steps = packed["env_steps"]
            return
        like = recurrent_state(self.carry.agent_state)
        self.carry = unpack_carry(packed, self.carry._replace(policy_state=()))  # epsilon-greedy has none
        self.episode_reward = packed["episode_reward"]
        self.builder.unpack(packed["builder"], like)


def _to_transitions(
    trajectory: Trajectory, agent_states: list[AgentState], end: Carry | None
) -> tuple[Transitions, list[AgentState]]:
    """The arguments of `SequenceBuilder.add`; `end` appends the final observation of episodes of fixed length, for
    which a rollout has no step."""
    transitions = Transitions(
        trajectory.obs,
        trajectory.action,
        trajectory.reward,
        trajectory.terminated,
        trajectory.valid,
        trajectory.episode_start & trajectory.valid,
        stack_steps(trajectory.action_masks),
    )
    if end is None:
        return transitions, agent_states
    longer = transitions.map(lambda part: torch.cat([part, torch.zeros_like(part[:1])]))
    longer.obs[-1] = end.step.obs
    if longer.action_mask is not None and end.step.action_mask is not None:
        longer.action_mask[-1] = end.step.action_mask
    return longer, [*agent_states, end.agent_state]


def pack_stream(collector: Collector | None, replay_buffer: ReplayBuffer, rank: int) -> dict[str, Any]:
    """Running episodes and replay buffer, in plain types, for a checkpoint.

    Args:
        collector: None before the first update.
        replay_buffer: its sequences.
        rank: of the process whose episodes these are.
    """
    packed = None if collector is None else collector.pack()
    return {"collector": packed, "replay_buffer": replay_buffer.pack(), "rank": rank}


def unpack_stream(
    state: dict[str, Any], make: Callable[[], Collector], empty: ReplayBuffer, *, rank: int, rows: int
) -> Collector | None:
    """Restores the running episodes, and the replay buffer in place; None where another rank or batch saved them.

    Args:
        state: with the entries of `pack_stream`.
        make: a collector with new episodes.
        empty: a replay buffer without sequences.
        rank: of this process.
        rows: parallel episodes of this process.

    Raises:
        ValueError: a replay buffer of another capacity.
    """
    packed = state["collector"]
    if packed is None or state["rank"] != rank or len(packed["episode_reward"]) != rows:
        return None
    collector = make()
    empty.unpack(state["replay_buffer"], recurrent_state(collector.carry.agent_state))
    collector.unpack(packed)
    return collector
