"""The base of learners that act by an episodic store: rollouts, whole episodes, metrics and checkpoints.

Shapes: T step, B row.
"""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from badger import distributed
from badger.agent import Agent
from badger.learners import returns
from badger.learners.episode_stream import EpisodeStream, episode_returns, open_stream, unpack_stream
from badger.learners.episodic_control.episodes import Episode, EpisodeLog
from badger.learners.episodic_control.readout import StoreReadout
from badger.learners.episodic_control.store import EpisodicStore
from badger.learners.episodic_control.ties import RandomTies
from badger.learners.q_learning.targets import greedy_value
from badger.learners.requirements import check_critic, check_memory, check_task
from badger.learners.schedules import EpsilonSchedule
from badger.learners.update import BASE_METRICS, check_sizes, masked, metric_totals
from badger.policies.policies import EpsilonGreedy, Greedy, Policy
from badger.rng import generator
from badger.rollouts.loop import rollout
from badger.rollouts.trajectory import Trajectory, stack_steps
from tasks import Discrete, Task, TaskDistribution

METRICS = BASE_METRICS | {"hit_rate", "store_rows", "epsilon", "env_steps", "ended_return", "q_value", "td_error"}


class EpisodicControl(ABC):
    """Q values from a store of episodes, which is the agent's output head; the base of `MFEC` and `NEC`.

    An outer step rolls out `horizon` steps of each row by an epsilon-greedy policy, and then learns from the episodes
    that have ended in them. A truncated episode has ended, too.

    Metrics: `return`, `episodes`, `finite` and scores, as in `ActorCritic`; `store_rows`, rows of all actions;
    `hit_rate`, the share of the written steps whose key was stored already, NaN where no episode ended; `epsilon`, the
    mean over rows; `env_steps`.

    Args:
        agent: the acting agent, whose act is a `StoreReadout`; a subclass makes it.
        given: the agent that was given to the subclass, which is checked.
        task: a task with `Discrete` actions and one reward for the agent.
        exploration: epsilon of each row.
        gamma: discount factor of a step.
        batch: rows that are rolled out in parallel.
        horizon: steps of each row in an outer step.
        seed: of all random streams.
    """

    action_kinds = (Discrete,)
    takes_agents = False
    needs_memoryless = True

    agent: Agent
    keeps_obs = False  # whether `_learn` reads `Episode.obs`

    def __init__(
        self,
        given: Agent,
        task: Task | TaskDistribution,
        *,
        exploration: EpsilonSchedule,
        gamma: float,
        batch: int,
        horizon: int,
        seed: int,
    ):
        name = type(self).__name__
        check_task(self, name, task)
        check_critic(self, name, given)
        check_memory(self, name, given)
        assert isinstance(task, Task)
        check_sizes({"batch": batch, "horizon": horizon}, {"gamma": gamma})
        if distributed.world_size() > 1:
            raise ValueError(f"{name} writes to one store and trains in one process, got {distributed.world_size()}")
        self.task, self.seed, self.batch, self.horizon = task, seed, batch, horizon
        self.exploration, self.gamma = exploration, gamma
        self.eval_policy: Policy = Greedy(task.action_space)
        self.stream: EpisodeStream | None = None
        self.log = self._new_log()
        self.last_return = next(given.parameters()).new_full((), torch.nan)
        self.step = 0

    @property
    def readout(self) -> StoreReadout:
        """The agent's output head."""
        assert isinstance(self.agent.act, StoreReadout)
        return self.agent.act

    @property
    def store(self) -> EpisodicStore:
        """What has been written."""
        return self.readout.store

    @property
    def env_steps(self) -> int:
        """The environment steps so far."""
        return self.log.env_steps

    @property
    def device(self) -> torch.device:
        """That of the agent."""
        return next(self.agent.parameters()).device

    @abstractmethod
    def _learn(self, episodes: list[Episode], rng: torch.Generator) -> dict[str, Tensor | float]:
        """Learns from the episodes that have ended, if any; returns metrics."""

    def update(self) -> dict[str, Tensor | float]:
        """One outer step; returns detached metrics."""
        rng = generator(self.seed, "train", self.step, device=self.device)
        stream = self.stream or self._open_stream(rng)
        epsilons = self.exploration(self.env_steps, self.batch)
        trajectory, episodes, self.stream = self._collect(stream, epsilons, rng)
        totals = self._totals(trajectory, stream)
        metrics = {name: total / count for name, (total, count) in totals.items()}
        ended_return, running = metrics.pop("ended_return"), self.stream.episode_reward.mean()
        self.last_return = torch.where(ended_return.isnan(), self.last_return, ended_return)
        learned = self._learn(episodes, rng)
        self.step += 1
        return {
            **metrics,
            "finite": trajectory.output.isfinite().all(),
            "return": torch.where(self.last_return.isnan(), running, self.last_return),
            "store_rows": float(len(self.store)),
            "epsilon": sum(epsilons) / self.batch,
            "env_steps": float(self.env_steps),
            **learned,
        }

    def _new_log(self) -> EpisodeLog:
        return EpisodeLog(self.batch, self.task.steps if self.task.fixed_length else None)

    def _open_stream(self, rng: torch.Generator) -> EpisodeStream:
        return open_stream(self.agent, self.task, self.batch, rng, self.agent.experts)

    def _collect(
        self, stream: EpisodeStream, epsilons: list[float], rng: torch.Generator
    ) -> tuple[Trajectory, list[Episode], EpisodeStream]:
        """Rolls out the running episodes; those that have ended, and the stream after them."""
        carry, task = stream.carry, self.task
        remaining = task.steps - carry.elapsed % task.steps if task.fixed_length else self.horizon
        policy = RandomTies(EpsilonGreedy(task.action_space, torch.tensor(epsilons, device=self.device)))
        with torch.no_grad():
            trajectory, carry = rollout(
                self.agent, task, carry, rng, policy, steps=min(self.horizon, remaining),
                hook=lambda state: self.readout.key(state.y, state.present),
            )  # fmt: skip
        value = greedy_value(trajectory.output, trajectory.output, stack_steps(trajectory.action_masks))
        episodes = self.log.add([(trajectory, torch.stack(trajectory.hook_outputs), value)], keep_obs=self.keeps_obs)
        _, episode_reward = episode_returns(trajectory, trajectory.valid, stream.episode_reward)
        return trajectory, episodes, stream.advance(carry, episode_reward)

    def _totals(self, trajectory: Trajectory, stream: EpisodeStream) -> dict[str, Tensor]:
        """Sums and counts of scores and of the returns of the episodes that ended."""
        valid = trajectory.valid
        totals = metric_totals([masked(trajectory, valid)], self.task, self, METRICS)
        sums, _ = episode_returns(trajectory, valid, stream.episode_reward)
        ended = (trajectory.terminated | trajectory.truncated) & valid
        return totals | returns.ended_totals(sums, ended)

    def state_dict(self) -> dict[str, Any]:
        """Agent with its store, counters and running episodes, as plain types and tensors.

        Running episodes of an external environment (`Task.external`) are not saved; new ones start after loading.
        """
        stream = None if self.task.external or self.stream is None else self.stream.pack()
        return {
            "agent": self.agent.state_dict(),
            "step": self.step,
            "stream": stream,
            "log": self.log.pack(),
            "last_return": self.last_return,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores a saved state. New episodes start if another batch size saved it.

        Args:
            state: from `state_dict`.
        """
        self.agent.load_state_dict(state["agent"])
        self.step, self.last_return, packed = state["step"], state["last_return"], state["stream"]
        matches = packed is not None and len(packed["episode_reward"]) == self.batch
        self.stream, self.log = None, self._new_log()
        self.log.unpack(state["log"], same_episodes=matches)
        if matches:
            like = self._open_stream(generator(self.seed, "like", device=self.device)).carry
            self.stream = unpack_stream(packed, like._replace(policy_state=()))
