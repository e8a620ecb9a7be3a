"""EMDQN: DQN that is also drawn to the best returns of an episodic store (Lin et al. 2018, arXiv:1805.07603).

Shapes: T step, B row or replayed step.
"""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from badger.agent import Agent
from badger.learners.episodic_control.episodes import EpisodeLog
from badger.learners.episodic_control.keys import FixedKey
from badger.learners.episodic_control.store import EpisodicStore
from badger.learners.q_learning.collector import Collector
from badger.learners.q_learning.recurrent_q import RecurrentQ
from badger.learners.q_learning.replay import Transitions, UniformSampler
from badger.learners.q_learning.sequences import SequenceSpec
from badger.learners.q_learning.targets import IDENTITY, huber
from badger.learners.schedules import EpsilonSchedule, LearningRate, LinearEpsilon
from badger.policies.policies import EpsilonGreedy
from badger.rng import drawing_from, generator
from badger.rollouts.trajectory import Trajectory
from tasks import Task, TaskDistribution


class EMDQN(RecurrentQ):
    """Episodic memory DQN: the loss of DQN, and `lam` (Q(s, a) - H(s, a))^2.

    H(s, a) is the largest return that has followed a at the observation s in any episode so far, written backwards when
    an episode ends; of a truncated one, that of the rewards until then. It is found by a fixed random projection of the
    observation. A step whose observation and action are not stored has the loss of DQN alone. So the reward of a good
    episode reaches all of its steps at once, and is not passed on by one step in each update of the target network.

    Metrics: those of DQN, and `hit_rate`, the share of the replayed steps that were found in the store; `store_rows`,
    its rows of all actions.

    Source: Lin et al. 2018, arXiv:1805.07603.

    Args:
        agent: as in `DQN`.
        lam: weight of the second term; 0: DQN.
        key_size: numbers of a key, a random projection of the observation; 0: the observation itself.
        store_capacity: rows of each action in the store.
        exploration, capacity, replay_batch, prefill, gamma, normalize_reward, n_steps, double_q, experts, batch,
            horizon, gradient_steps, target_update_interval, lr, clip, betas, eps, weight_decay, seed, rank: as in DQN.

    Raises:
        ValueError: as `DQN` does, and for a negative `lam`.
    """

    needs_memoryless = True
    host_reads = 2

    def __init__(
        self,
        agent: Agent,
        task: Task | TaskDistribution,
        *,
        lam: float = 0.1,
        key_size: int = 64,
        store_capacity: int = 100_000,
        capacity: int = 20_000,
        exploration: EpsilonSchedule | None = None,
        gamma: float = 0.99,
        normalize_reward: bool = False,
        n_steps: int = 1,
        double_q: bool = False,
        experts: int | None = None,
        batch: int = 16,
        horizon: int = 4,
        gradient_steps: int = 16,
        replay_batch: int = 32,
        prefill: int = 500,
        target_update_interval: int = 500,
        lr: LearningRate = 1e-3,
        clip: float | None = 10.0,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        seed: int = 0,
        rank: int | None = None,
    ):
        if n_steps < 1:
            raise ValueError(f"n_steps={n_steps}, want at least 1")
        if not lam >= 0:
            raise ValueError(f"lam={lam}, want at least 0")
        super().__init__(
            agent,
            task,
            spec=SequenceSpec(1, 0, 0, lookahead=n_steps - 1, stored_state=False),
            capacity=capacity,
            sampler=UniformSampler(),
            exploration=LinearEpsilon() if exploration is None else exploration,
            gamma=gamma,
            n_steps=n_steps,
            normalize_reward=normalize_reward,
            double_q=double_q,
            value_transform=IDENTITY,
            priority_eta=0.9,
            error_loss=huber,
            experts=experts,
            batch=batch,
            horizon=horizon,
            gradient_steps=gradient_steps,
            replay_batch=replay_batch,
            prefill=prefill,
            target_update_interval=target_update_interval,
            discrepancy_interval=None,
            lr=lr,
            auxiliary=None,
            clip=clip,
            betas=betas,
            eps=eps,
            weight_decay=weight_decay,
            seed=seed,
            rank=rank,
        )
        self.lam, like = lam, next(agent.parameters())
        with drawing_from(generator(seed, "projection")):
            self.key = FixedKey(self.task.obs_size, key_size, like)
        self.store = EpisodicStore(self.task.action_space.size, self.key.output_size, capacity=store_capacity).to(like)
        self.log = self._new_log()
        self.replayed: list[tuple[Tensor, Tensor]] = []  # of each optimizer step: which steps were found, which count

    def _new_log(self) -> EpisodeLog:
        return EpisodeLog(self.local_batch, self.task.steps if self.task.fixed_length else None)

    def update(self) -> dict[str, Tensor | float]:
        """One outer step; returns detached metrics."""
        metrics, self.replayed = super().update(), self.replayed
        found, valid = map(torch.stack, zip(*self.replayed, strict=True))
        self.replayed = []
        hit_rate = (found & valid).sum() / valid.sum()
        return {**metrics, "hit_rate": hit_rate, "store_rows": float(len(self.store))}

    def step_loss(
        self, steps: Transitions, q_taken: Float[Tensor, "T B"], target: Float[Tensor, "T B"]
    ) -> Float[Tensor, "T B"]:
        best, found = self.store.lookup(self._keys(steps.obs).flatten(0, 1), steps.action.flatten())
        best, found = best.view_as(q_taken), found.view_as(q_taken)
        best = best if self.reward_scaling is None else self.reward_scaling(best)
        self.replayed.append((found, steps.valid))
        episodic = torch.where(found, (q_taken - best).square(), 0)
        return super().step_loss(steps, q_taken, target) + self.lam * episodic

    def _collect(
        self, collector: Collector, policy: EpsilonGreedy, rng: torch.Generator
    ) -> tuple[dict[str, Tensor], list[Trajectory]]:
        totals, trajectories = super()._collect(collector, policy, rng)
        columns = [(t, self._keys(t.obs), torch.zeros_like(t.reward)) for t in trajectories]
        for episode in self.log.add(columns, keep_obs=False):
            backwards, returns = slice(None, None, -1), episode.returns(gamma=self.gamma, n=0)
            if np.isfinite(episode.key).all() and np.isfinite(returns).all():
                self.store.write(episode.key[backwards], episode.action[backwards], returns[backwards])
        return totals, trajectories

    def _keys(self, obs: Float[Tensor, "T B *EO"]) -> Float[Tensor, "T B K"]:
        flat = obs.flatten(2)
        if flat.shape[-1] != self.key.input_size:
            raise ValueError(
                f"{type(self.task).__name__}: an observation has {flat.shape[-1]} numbers, and EMDQN wants one for all "
                f"experts, {self.key.input_size} numbers: use another learner, such as dqn"
            )
        return self.key.keys(flat)

    def state_dict(self) -> dict[str, Any]:
        """As of `RecurrentQ`, and the store with its keys and the running episodes."""
        rest = {"store": self.store.state_dict(), "projection": self.key.state_dict(), "log": self.log.pack()}
        return super().state_dict() | rest

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.store.load_state_dict(state["store"])
        self.key.load_state_dict(state["projection"])
        self.log = self._new_log()
        self.log.unpack(state["log"], same_episodes=self.collector is not None and not self.task.external)
