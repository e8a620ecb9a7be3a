"""Recurrent Q-learning: epsilon-greedy rollouts, a replay buffer of sequences, and double-Q n-step targets.

Shapes: T step, T1 = T + 1 observations, B row or sequence, D actions.
"""

import copy
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from badger import distributed
from badger.agent import Agent
from badger.learners import returns
from badger.learners.q_learning import targets
from badger.learners.q_learning.collector import Collector, pack_stream, unpack_stream
from badger.learners.q_learning.replay import ReplayBuffer, Sampler, SequenceBatch, Transitions, check_prefill
from badger.learners.q_learning.replayed import to_recording
from badger.learners.q_learning.sequences import SequenceSpec
from badger.learners.q_learning.targets import ErrorLoss, ValueTransform, squared_error
from badger.learners.requirements import check_critic, check_memory, check_task
from badger.learners.schedules import EpsilonSchedule, LearningRate
from badger.learners.update import BASE_METRICS, GuardedAdamW, check_auxiliary, check_sizes, metric_totals
from badger.moments import RewardScaling, pack_scaling, unpack_scaling
from badger.normalized_sense import normalizer_metrics, update_obs_moments
from badger.policies.policies import EpsilonGreedy, Greedy, Policy
from badger.rng import generator
from badger.rollouts.recording import Recording, replay
from badger.rollouts.trajectory import Trajectory
from tasks import Discrete, Task, TaskDistribution
from tasks.observations import fit_bytes

Q_METRICS = {
    "q_value", "td_error", "epsilon", "replay_size", "env_steps", "ended_return", "discrepancy", "initial_discrepancy",
}  # fmt: skip


class RecurrentQ:
    """Deep Q-learning with a recurrent agent and replayed sequences, the base of `DQN`, `DRQN` and `R2D2`.

    The agent's outputs are the Q values of the actions. An outer step has two parts:

    1. `batch` epsilon-greedy episodes run for `horizon` more steps. They are cut into sequences (`SequenceSpec`),
       which go to the replay buffer.
    2. `gradient_steps` steps of AdamW, each on `replay_batch` sequences from the buffer. Agent and target network are
       replayed over the whole sequence, from the same initial state. The first `burn_in` steps have no gradient and
       no loss.

    The loss is the mean over the training steps, without padding, of weight x `step_loss`, with the sequence's
    importance weight; by default (y - Q(a))^2 with the n-step target y. The target bootstraps from the target network's
    value of the greedy action, which the agent (`double_q`) or the target network itself selects. Only a termination
    stops bootstrapping. A learner with a further loss term overrides `step_loss`; one that learns from whole
    trajectories, too, overrides `_collect`, which returns them.

    Metrics: `loss`; `q_value` of the actions taken and `td_error`, the mean |y - Q(a)|, both in the units of
    `value_transform`; `epsilon`, the mean over rows; `replay_size`, sequences in the buffer; `env_steps`, environment
    steps of this process so far; `discrepancy` and `initial_discrepancy`, of the last and the first training step of
    sequences, in the updates where they are measured; `return`: mean undiscounted return of the episodes that ended in
    this update; if none ended, of those that ended last; if none has ended yet, the mean reward of the running
    episodes; and the metrics of the optimizer, of scores and of auxiliary losses, as in `ActorCritic`.

    Args:
        agent: the agent to train, without a critic.
        task: a task with `Discrete` actions and one reward for the agent; no distribution of tasks.
        spec: lengths of the sequences, clamped to the length of an episode.
        capacity: sequences in the replay buffer.
        sampler: sampling distribution of the buffer, uniform or prioritized.
        exploration: epsilon of each row, as a function of the environment steps.
        gamma: discount factor of a step.
        n_steps: steps of the returns before the bootstrap value.
        normalize_reward: divide the rewards of the targets by the present standard deviation of the running discounted
            return (`badger.moments.RewardScaling`); the buffer keeps the environment's own.
        double_q: select the greedy action of the target with the agent, not with the target network.
        value_transform: rescaling of returns; Q is learned in its units.
        priority_eta: weight of the largest |TD error| of a sequence in its priority; the rest is their mean.
        error_loss: of y - Q(a).
        experts: number of experts; None: the agent's own.
        batch: episodes that are rolled out in parallel, over all processes of the run.
        horizon: environment steps of each row in an outer step.
        gradient_steps: optimizer steps in an outer step.
        replay_batch: sequences in an optimizer step, in each process.
        prefill: sequences in the buffer before the first optimizer step; the first outer step collects them.
        target_update_interval: optimizer steps between two updates of the target network.
        discrepancy_interval: outer steps between two measurements of `discrepancy`, for which the buffer stores the
            episode before each sequence; None: never.
        lr: learning rate: a number, or a function of the outer step, such as a `WarmupCosine`.
        auxiliary: weights of the core's auxiliary losses by name; None: not trained on.
        clip: largest norm of the gradient; None: no clipping.
        betas, eps, weight_decay: of AdamW.
        seed: seed of all random streams of the learner.
        rank: the process whose episodes are sampled; None: this one's.

    Raises:
        ValueError: a task without discrete actions, an agent with a critic, or an option that is out of range.
    """

    action_kinds = (Discrete,)
    takes_agents = False

    def __init__(
        self,
        agent: Agent,
        task: Task | TaskDistribution,
        *,
        spec: SequenceSpec,
        capacity: int,
        sampler: Sampler,
        exploration: EpsilonSchedule,
        gamma: float,
        n_steps: int,
        normalize_reward: bool,
        double_q: bool,
        value_transform: ValueTransform,
        priority_eta: float,
        experts: int | None,
        batch: int,
        horizon: int,
        gradient_steps: int,
        replay_batch: int,
        prefill: int,
        target_update_interval: int,
        discrepancy_interval: int | None,
        lr: LearningRate,
        auxiliary: dict[str, float] | None,
        clip: float | None,
        betas: tuple[float, float],
        eps: float,
        weight_decay: float,
        seed: int,
        rank: int | None,
        error_loss: ErrorLoss = squared_error,
    ):
        name = type(self).__name__
        check_task(self, name, task)
        check_critic(self, name, agent)
        check_memory(self, name, agent)
        assert isinstance(task, Task)
        self.task = task
        sizes = {
            "experts": experts,
            "batch": batch,
            "horizon": horizon,
            "n_steps": n_steps,
            "gradient_steps": gradient_steps,
            "replay_batch": replay_batch,
            "capacity": capacity,
            "prefill": prefill,
            "target_update_interval": target_update_interval,
            "discrepancy_interval": discrepancy_interval,
        }
        check_sizes(sizes, {"gamma": gamma, "priority_eta": priority_eta})
        check_prefill(prefill, capacity)
        self.agent, self.seed = agent, seed
        self.experts = agent.experts if experts is None else experts
        self.rank = distributed.rank() if rank is None else rank
        self.batch, self.local_batch = batch, distributed.local_batch_size(batch)
        self.horizon, self.gradient_steps = horizon, gradient_steps
        self.replay_batch, self.prefill = replay_batch, prefill
        self.gamma, self.n_steps, self.double_q = gamma, n_steps, double_q
        self.value_transform, self.priority_eta, self.error_loss = value_transform, priority_eta, error_loss
        self.target_update_interval, self.discrepancy_interval = target_update_interval, discrepancy_interval
        self.auxiliary = check_auxiliary(auxiliary, agent.core)
        self.spec = spec = spec.clamp_to(self.task.steps)
        if discrepancy_interval is not None:
            self.spec = replace(spec, context=spec.last_start(self.task.steps) - spec.burn_in)
        self.exploration = exploration
        self.eval_policy: Policy = Greedy(self.task.action_space)
        self.updater = GuardedAdamW(
            agent.parameters(), lr=lr, clip=clip, betas=betas, eps=eps, weight_decay=weight_decay
        )
        like = next(agent.parameters())
        self.reward_scaling = RewardScaling(gamma, like) if normalize_reward else None
        self.target = copy.deepcopy(agent).requires_grad_(False)
        as_bytes = self.task.dtype if fit_bytes(self.task.obs_parts) else None
        self.replay_buffer = ReplayBuffer(capacity, sampler, as_bytes)
        self.collector: Collector | None = None  # from the first update on
        self.step, self.num_updates = 0, 0  # outer steps and optimizer steps

    @property
    def env_steps(self) -> int:
        """The environment steps so far, over all rows and processes."""
        return 0 if self.collector is None else self.collector.builder.env_steps * distributed.world_size()

    def rng(self) -> torch.Generator:
        """The generator of the next outer step."""
        return generator(self.seed, "train", self.step, rank=self.rank, device=self.updater.device)

    def update(self) -> dict[str, Tensor | float]:
        """One outer step; returns detached metrics."""
        lr, rng = self.updater.schedule(self.step), self.rng()
        collector = self.collector = self.collector or self._make_collector(rng)
        epsilons = self.exploration(collector.builder.env_steps * distributed.world_size(), self.batch)
        totals, trajectories = self._collect(collector, self._rollout_policy(epsilons), rng)
        last = self.gradient_steps - 1
        steps = [self._gradient_step(lr, rng, totals if i == last else {}) for i in range(self.gradient_steps)]
        metrics: dict[str, Tensor | float] = {**steps[-1]}
        for name in steps[0]:  # the metrics of every optimizer step, not those of the rollout
            metrics[name] = torch.stack([step[name] for step in steps]).double().mean()
        metrics.update({name: steps[-1][name] for name in totals})
        metrics["finite"] = torch.stack([step["finite"] for step in steps]).all()
        metrics["return"] = collector.mean_return(steps[-1]["ended_return"])
        if self.discrepancy_interval is not None and self.step % self.discrepancy_interval == 0:
            for name, values in zip(("initial_discrepancy", "discrepancy"), self.discrepancy(rng), strict=True):
                metrics[name] = values.mean()
        metrics |= normalizer_metrics(self.agent, self.reward_scaling)
        for trajectory in trajectories:
            update_obs_moments(self.agent, trajectory.obs, trajectory.present)
        self.step += 1
        del metrics["ended_return"]
        return {
            **metrics,
            "epsilon": sum(epsilons) / self.batch,
            "replay_size": float(len(self.replay_buffer)),
            "env_steps": float(collector.builder.env_steps),
            "lr": lr,
        }

    def discrepancy(self, rng: torch.Generator) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
        """The Q-value discrepancy of replayed sequences at their first and at their last training step.

        Samples `replay_batch` sequences and compares the Q values of their replay, as in training, with those that the
        agent has after the whole episode so far, which is replayed, too (`targets.discrepancy`).

        Args:
            rng: generator of the samples.

        Raises:
            ValueError: discrepancy_interval is None, so that the buffer has no beginnings of episodes.
        """
        if self.discrepancy_interval is None:
            raise ValueError(
                "discrepancy_interval=None, so the beginnings of episodes are not stored: build the learner with "
                "discrepancy_interval=1"
            )
        batch, _, _ = self.replay_buffer.sample(self.replay_batch, rng)
        episodes = batch._replace(initial_states=[None] * len(batch.initial_states))
        with torch.no_grad():
            reference, _, _ = replay(self.agent, self._to_recording(episodes, rng), rng)
            replayed, _, _ = replay(self.agent, self._to_recording(self._without_context(batch), rng), rng)
        trained = slice(self.spec.burn_in, self.spec.burn_in + self.spec.train_length)
        mask = batch.steps.valid[self.spec.context :][trained]
        found = targets.discrepancy(replayed[trained], reference[self.spec.context :][trained], mask)
        return found[0], found.gather(0, mask.sum(0, keepdim=True) - 1).squeeze(0)

    def _without_context(self, batch: SequenceBatch) -> SequenceBatch:
        return batch._replace(steps=batch.steps.map(lambda part: part[self.spec.context :]))

    def _make_collector(self, rng: torch.Generator) -> Collector:
        if self.reward_scaling is not None:
            self.reward_scaling.restart()
        return Collector(self.agent, self.task, self.spec, rows=self.local_batch, experts=self.experts, rng=rng)

    def _rollout_policy(self, epsilons: list[float]) -> EpsilonGreedy:
        """The policy of this process's rows."""
        local = epsilons[distributed.rank() * self.local_batch :][: self.local_batch]
        return EpsilonGreedy(self.task.action_space, torch.tensor(local, device=self.updater.device))

    def _collect(
        self, collector: Collector, policy: EpsilonGreedy, rng: torch.Generator
    ) -> tuple[dict[str, Tensor], list[Trajectory]]:
        """Rolls out episodes and fills the replay buffer; sums and counts of the metrics of the rollout, and itself."""
        trajectories, ended = collector.fill(
            self.replay_buffer, policy, rng, horizon=self.horizon, prefill=self.prefill
        )
        if self.reward_scaling is not None:
            for trajectory in trajectories:
                ended_steps = trajectory.terminated | trajectory.truncated
                self.reward_scaling.update(trajectory.reward, ended_steps, trajectory.valid)
        totals = metric_totals(trajectories, self.task, self, BASE_METRICS | Q_METRICS)
        return totals | returns.ended_totals(*ended), trajectories

    def _gradient_step(self, lr: float, rng: torch.Generator, totals: dict[str, Tensor]) -> dict[str, Tensor]:
        """One optimizer step on a batch of sequences; its metrics, with the means of `totals`."""
        batch, indices, weights = self.replay_buffer.sample(self.replay_batch, rng)
        batch = self._without_context(batch)
        q, target_q, losses = self._replay_q(batch, rng)
        steps = batch.steps.map(lambda part: part[self.spec.burn_in :])
        target = self._td_targets(steps, q.detach(), target_q)[: self.spec.train_length]
        steps = steps.map(lambda part: part[: self.spec.train_length])  # from here on without lookahead
        mask = steps.valid
        q_taken = targets.select_q(q[: len(mask)], steps.action)  # (T, B)
        error = target - q_taken
        count = mask.sum().to(q.dtype)
        distributed.all_reduce_mean_([count])  # before the backward pass: processes may differ in their valid steps
        loss = returns.masked_mean(weights.to(q) * self.step_loss(steps, q_taken, target), mask, count)
        for name, weight in self.auxiliary.items():
            loss = loss + weight * returns.masked_mean(losses[name][: len(mask)], mask, count)
        self.updater.optimizer.zero_grad()
        loss.backward()
        self.replay_buffer.update_priorities(
            indices, targets.sequence_priority(error.detach(), mask, eta=self.priority_eta)
        )
        means = {
            "loss": loss,
            "q_value": returns.masked_mean(q_taken, mask),
            "td_error": returns.masked_mean(error.abs(), mask),
        }
        metrics = self.updater.step(lr, {name: mean.detach() for name, mean in means.items()}, totals)
        self.num_updates += 1
        if self.num_updates % self.target_update_interval == 0:
            self.target.load_state_dict(self.agent.state_dict())
        return metrics

    def step_loss(
        self, steps: Transitions, q_taken: Float[Tensor, "T B"], target: Float[Tensor, "T B"]
    ) -> Float[Tensor, "T B"]:
        """The loss of each replayed step, before importance weights; those of padding are not used.

        Args:
            steps: the training steps, with their observations, actions and rewards.
            q_taken: Q values of the actions taken.
            target: their TD targets, without gradient.
        """
        return self.error_loss(target - q_taken)

    def _replay_q(
        self, batch: SequenceBatch, rng: torch.Generator
    ) -> tuple[Float[Tensor, "T1 B D"], Float[Tensor, "T1 B D"], dict[str, Float[Tensor, "T B"]]]:
        """Q values after the burn-in of the agent and of the target network, and the core's auxiliary losses.

        Those of the agent have a gradient at the training steps only.
        """
        recording, burn_in, trained = self._to_recording(batch, rng), self.spec.burn_in, self.spec.train_length
        with torch.no_grad():
            target_q, _, _ = replay(self.target, recording, rng)
            if burn_in:
                recording = recording.tail(burn_in, replay(self.agent, recording.head(burn_in), rng)[2])
        q, losses, state = replay(self.agent, recording.head(trained), rng)
        with torch.no_grad():  # values of later observations only select actions
            later_q, _, _ = replay(self.agent, recording.tail(trained, state), rng)
        return torch.cat([q, later_q]), target_q[burn_in:], losses

    def _to_recording(self, batch: SequenceBatch, rng: torch.Generator) -> Recording:
        """The recording that replays a batch of sequences from their initial states."""
        return to_recording(self.agent, batch, rng, experts=self.experts, outputs=self.task.action_space.size)

    def _td_targets(
        self, steps: Transitions, q: Float[Tensor, "T1 B D"], target_q: Float[Tensor, "T1 B D"]
    ) -> Float[Tensor, "T B"]:
        """The transformed n-step target of each step."""
        value = targets.greedy_value(target_q, q if self.double_q else target_q, steps.action_mask)
        reward, terminated, valid = (part[:-1] for part in (steps.reward, steps.terminated, steps.valid))
        reward = reward if self.reward_scaling is None else self.reward_scaling(reward)
        value_next = self.value_transform.apply_inv(value)
        return_ = targets.n_step_returns(reward, value_next, terminated, valid, gamma=self.gamma, n=self.n_steps)
        return self.value_transform.apply(return_)

    def state_dict(self) -> dict[str, Any]:
        """Agent, target network, optimizer, counters, running episodes and replay buffer, in plain types."""
        return {
            "agent": self.agent.state_dict(),
            "target": self.target.state_dict(),
            "optimizer": self.updater.optimizer.state_dict(),
            "step": self.step,
            "num_updates": self.num_updates,
            "reward_scaling": pack_scaling(self.reward_scaling),
            **pack_stream(self.collector, self.replay_buffer, self.rank),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores a saved state.

        If another rank or another batch size saved it, running episodes and replay buffer are reset. Running episodes
        of an external environment are always reset.

        Args:
            state: from `state_dict`.

        Raises:
            ValueError: a replay buffer of another capacity.
        """
        self.agent.load_state_dict(state["agent"])
        self.target.load_state_dict(state["target"])
        self.updater.optimizer.load_state_dict(state["optimizer"])
        self.step, self.num_updates, old = state["step"], state["num_updates"], self.replay_buffer
        self.replay_buffer = ReplayBuffer(old.capacity, old.sampler, old.bytes_of)
        like = generator(self.seed, "like", self.step, rank=self.rank, device=self.updater.device)
        self.collector = unpack_stream(
            state, partial(self._make_collector, like), self.replay_buffer, rank=self.rank, rows=self.local_batch
        )
        same_episodes = self.collector is not None and state["collector"]["carry"] is not None
        unpack_scaling(self.reward_scaling, state["reward_scaling"], same_episodes=same_episodes)
