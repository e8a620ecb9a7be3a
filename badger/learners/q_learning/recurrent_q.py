"""Q-learning with memory: what was lived through, in sequences, is lived through again and learnt from.

Shapes: T step, B row or sequence, D numbers of an action.
"""

import copy
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from badger import distributed
from badger.agent import Agent
from badger.learners import returns
from badger.learners.q_learning import targets as qlearning
from badger.learners.q_learning.collector import Collector
from badger.learners.q_learning.replay import ReplayBuffer, Sampler, SequenceBatch, Transitions
from badger.learners.q_learning.sequences import SequenceSpec, recurrent_state, with_recurrent_states
from badger.learners.q_learning.targets import ValueTransform
from badger.learners.requirements import check_critic, check_task
from badger.learners.schedules import EpsilonSchedule, LearningRate
from badger.learners.update import BASE_METRICS, GuardedAdamW, check_auxiliary, check_sizes, metric_totals
from badger.policies.policies import EpsilonGreedy, Greedy, Policy
from badger.rng import generator
from badger.rollouts.recording import Recording, replay
from tasks import Discrete, Task, TaskDistribution

Q_METRICS = {"q", "td_error", "epsilon", "replay", "env_steps", "discrepancy", "ended"}  # what an update tells besides


class RecurrentQ:
    """One outer step: `batch` rows play on for `horizon` steps, exploring; what they lived through is cut in sequences
    and added to a replay; then AdamW makes `gradient_steps` steps, each on `replay_batch` of them.

    The agent's outputs are Q values. The loss is the mean over the steps that count of weight x (y - Q(a))^2, where y
    is the n-step return that ends in the target network's value of the action that the agent itself (`double_q`) or the
    target network finds best. Both live through the whole sequence, each on its own, from the same first state;
    through its first `burn_in` steps without gradient. Only a termination ends the value of the future.

    `badger.learners` has the two well-known compositions, DRQN and R2D2.

    Metrics: `return` is the mean total reward of the episodes that ended in this update, or last, or before any has
    ended, of all so far; q of what was done, td_error: mean absolute, both in the units in which Q is learnt; epsilon;
    replay_buffer: sequences in it; env_steps: steps made so far, of this process; discrepancy: see `discrepancy`, NaN unless
    due. A loss or gradient that is not finite never reaches the parameters.

    Args:
        agent, task: who learns what. rng streams follow from `seed`.
        spec: how episodes become sequences; none is longer than an episode can be.
        capacity: sequences in the replay. sampler: how they are drawn from it.
        exploration: the chance to explore, of each row.
        gamma, n_steps: of the returns. double_q: see above. value_transform: the units in which Q is learnt.
        priority_eta: how much of a priority is the largest error, not the mean.
        experts: how many; None: as the agent was built.
        batch: rows, over all processes that share the run. horizon: steps of each in an outer step.
        gradient_steps: gradient steps in an outer step. replay_batch: in each of them, in each process.
        prefill: sequences in the replay before learning begins; the first outer step plays for so long.
        target_update_interval: gradient steps between two copies of the agent into the target network.
        discrepancy_interval: outer steps between two measurements of the discrepancy, for which twice as much is kept of what
            the agent knew; None: never.
        lr, auxiliary, clip, betas, eps, weight_decay, rank: as in A2C.

    Raises:
        ValueError: a task whose actions are not one choice, an agent with a value beside, or sizes that make no sense.
    """

    action_kinds = (Discrete,)

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
    ):
        name = type(self).__name__
        check_task(self, name, task)
        check_critic(self, name, agent)
        assert isinstance(task, Task)
        self.task = task
        sizes = {
            "experts": experts, "batch": batch, "horizon": horizon, "n_steps": n_steps, "gradient_steps": gradient_steps, "replay_batch": replay_batch,
            "prefill": prefill, "target_update_interval": target_update_interval, "discrepancy_interval": discrepancy_interval,
        }  # fmt: skip
        check_sizes(sizes, {"gamma": gamma, "priority_eta": priority_eta})
        if prefill > capacity:
            raise ValueError(f"prefill={prefill}, want at most capacity={capacity}: no more sequences are kept")
        self.agent, self.seed = agent, seed
        self.experts = agent.experts if experts is None else experts
        self.rank = distributed.rank() if rank is None else rank
        self.batch, self.local_batch = batch, distributed.local_batch_size(batch)
        self.horizon, self.gradient_steps, self.replay_batch, self.prefill = (
            horizon,
            gradient_steps,
            replay_batch,
            prefill,
        )
        self.gamma, self.n_steps, self.double_q, self.value_transform, self.priority_eta = (
            gamma,
            n_steps,
            double_q,
            value_transform,
            priority_eta,
        )
        self.target_update_interval, self.discrepancy_interval = target_update_interval, discrepancy_interval
        self.auxiliary = check_auxiliary(auxiliary, agent.core)
        self.spec = replace(spec.clamp_to(self.task.steps), keep_final_state=discrepancy_interval is not None)
        self.exploration = exploration
        self.eval_policy: Policy = Greedy(self.task.action_space)
        self.updater = GuardedAdamW(
            agent.parameters(), lr=lr, clip=clip, betas=betas, eps=eps, weight_decay=weight_decay
        )
        self.target = copy.deepcopy(agent).requires_grad_(False)
        self.replay_buffer = ReplayBuffer(capacity, sampler)
        self.collector: Collector | None = None  # from the first update on
        self.step, self.num_updates = 0, 0  # outer steps and gradient steps

    def rng(self) -> torch.Generator:
        """Of the next outer step."""
        return generator(self.seed, "train", self.step, rank=self.rank, device=self.updater.device)

    def update(self) -> dict[str, Tensor | float]:
        """One outer step; metrics as detached tensors."""
        lr, rng = self.updater.schedule(self.step), self.rng()
        lived = self.collector = self.collector or self._make_collector(rng)
        chances = self.exploration(lived.builder.env_steps * distributed.world_size(), self.batch)
        totals = self._collect(lived, self._policy(chances), rng)
        learnt = [
            self._gradient_step(lr, rng, totals if left == 0 else {}) for left in reversed(range(self.gradient_steps))
        ]
        metrics: dict[str, Tensor | float] = {**learnt[-1]}
        for name in learnt[0]:  # what is told of each step, not of all that was played
            metrics[name] = torch.stack([one[name] for one in learnt]).double().mean()
        metrics.update({name: learnt[-1][name] for name in totals})
        metrics["finite"] = torch.stack([one["finite"] for one in learnt]).all()
        metrics["return"] = lived.mean_return(learnt[-1]["ended"])
        if self.discrepancy_interval is not None and self.step % self.discrepancy_interval == 0:
            metrics["discrepancy"] = self.discrepancy(rng).mean()
        self.step += 1
        del metrics["ended"]
        told = {"epsilon": sum(chances) / self.batch, "replay": float(len(self.replay_buffer))}
        return {**metrics, **told, "env_steps": float(lived.builder.env_steps), "lr": lr}

    def discrepancy(self, rng: torch.Generator) -> Float[Tensor, " B"]:
        """How far the Q values of the last observations of sequences in the replay, come to as they are trained on,
        are from those of what the agent knew when it was there (`qlearning.discrepancy`).

        Raises:
            ValueError: what it knew is not kept: measure_every is None.
        """
        drawn, _, _ = self.replay_buffer.sample(self.replay_batch, rng)
        if any(one is None for one in drawn.final_states):
            raise ValueError("what the agent knew at the end of a sequence is not kept: build it with measure_every=1")
        passage, there = self._to_recording(drawn, rng), drawn.steps.valid
        at = there.shape[0] - there.flip(0).int().argmax(0)  # the observation after the last step
        rows = torch.arange(len(at), device=at.device)
        with torch.no_grad():
            replayed, _, _ = replay(self.agent, passage, rng)
            lived, _ = self.agent(
                passage.obs[at, rows], with_recurrent_states(drawn.final_states, passage.initial_state), rng
            )
        return qlearning.discrepancy(replayed[self.spec.burn_in :], lived, at - self.spec.burn_in)

    def _make_collector(self, rng: torch.Generator) -> Collector:
        return Collector(self.agent, self.task, self.spec, rows=self.local_batch, experts=self.experts, rng=rng)

    def _policy(self, chances: list[float]) -> EpsilonGreedy:
        """Of this process's rows."""
        own = chances[distributed.rank() * self.local_batch :][: self.local_batch]
        return EpsilonGreedy(self.task.action_space, torch.tensor(own, device=self.updater.device))

    def _collect(self, lived: Collector, policy: EpsilonGreedy, rng: torch.Generator) -> dict[str, Tensor]:
        """Fills the replay; sums and counts of what is to be told."""
        pieces, ended, played = [], [], 0
        while played < self.horizon or len(self.replay_buffer) < self.prefill:
            frames, found, over = lived.collect(self.horizon - played % self.horizon, policy, rng)
            if found is not None:
                self.replay_buffer.add(found)
            pieces.append(frames)
            ended.append(over)
            played += len(frames.obs)
        return metric_totals(pieces, self.task, self, BASE_METRICS | Q_METRICS) | {"ended": torch.stack(ended).sum(0)}

    def _gradient_step(self, lr: float, rng: torch.Generator, totals: dict[str, Tensor]) -> dict[str, Tensor]:
        """One gradient step."""
        batch, indices, weights = self.replay_buffer.sample(self.replay_batch, rng)
        q, target, losses = self._replay_q(batch, rng)
        steps = batch.steps.map(lambda part: part[self.spec.burn_in :])
        counts = steps.valid[:-1]
        q_taken = qlearning.select_q(q[:-1], steps.action[:-1])  # (T, B)
        error = self._td_targets(steps, q.detach(), target) - q_taken
        number = counts.sum().to(q.dtype)
        distributed.all_reduce_mean_([number])  # before the backward pass: processes may differ in how many steps count
        loss = returns.masked_mean(weights.to(q) * error.square(), counts, number)
        for name, weight in self.auxiliary.items():
            loss = loss + weight * returns.masked_mean(losses[name][:-1], counts, number)
        self.updater.optimiser.zero_grad()
        loss.backward()
        self.replay_buffer.update_priorities(
            indices, qlearning.sequence_priority(error.detach(), counts, peak=self.priority_eta)
        )
        means = {
            "loss": loss,
            "q": returns.masked_mean(q_taken, counts),
            "td_error": returns.masked_mean(error.abs(), counts),
        }
        metrics = self.updater.step(lr, {name: mean.detach() for name, mean in means.items()}, totals)
        self.num_updates += 1
        if self.num_updates % self.target_update_interval == 0:
            self.target.load_state_dict(self.agent.state_dict())
        return metrics

    def _replay_q(
        self, drawn: SequenceBatch, rng: torch.Generator
    ) -> tuple[Float[Tensor, "T1 B D"], Float[Tensor, "T1 B D"], dict[str, Float[Tensor, "T1 B"]]]:
        """Q of what is trained on, by the agent and by the target network: each lives through all of the sequence from
        its first state, and there is no gradient before the burn-in is over."""
        passage, burnt = self._to_recording(drawn, rng), self.spec.burn_in
        with torch.no_grad():
            target, _, _ = replay(self.target, passage, rng)
            if burnt:
                passage = passage.tail(burnt, replay(self.agent, passage.head(burnt), rng)[2])
        q, losses, _ = replay(self.agent, passage, rng)
        return q, target[burnt:], losses

    def _to_recording(self, drawn: SequenceBatch, rng: torch.Generator) -> Recording:
        obs, identity, address = drawn.steps.obs, drawn.identity, drawn.address
        fresh = self.agent.initial_state(obs[0], rng, self.experts, self.task.action_space.size)
        state = with_recurrent_states(drawn.initial_states, fresh._replace(identity=identity, assignment=address))
        every = identity.expand(len(obs), *identity.shape)
        return Recording(
            state,
            obs,
            drawn.steps.episode_start,
            every,
            None if address is None else address.expand(len(obs), *address.shape),
        )

    def _td_targets(
        self, steps: Transitions, q: Float[Tensor, "T1 B D"], target: Float[Tensor, "T1 B D"]
    ) -> Float[Tensor, "T B"]:
        """What Q of each step should have been."""
        value = qlearning.greedy_value(target, q if self.double_q else target, steps.action_mask)
        reward, ends, there = (part[:-1] for part in (steps.reward, steps.terminated, steps.valid))
        wanted = qlearning.n_step_returns(
            reward, self.value_transform.apply_inv(value), ends, there, gamma=self.gamma, n=self.n_steps
        )
        return self.value_transform.apply(wanted)

    def state_dict(self) -> dict[str, Any]:
        return {
            "agent": self.agent.state_dict(),
            "target": self.target.state_dict(),
            "optimiser": self.updater.optimiser.state_dict(),
            "step": self.step,
            "num_updates": self.num_updates,
            "lived": None if self.collector is None else self.collector.pack(),
            "replay_buffer": self.replay_buffer.pack(),
            "rank": self.rank,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """A stream and a replay that another process has saved, or of another batch, are not this one's: both begin
        anew. Of worlds that are not ours the stream alone. Raises ValueError where another number of sequences is
        kept."""
        self.agent.load_state_dict(state["agent"])
        self.target.load_state_dict(state["target"])
        self.updater.optimiser.load_state_dict(state["optimiser"])
        self.step, self.num_updates, lived = state["step"], state["climbs"], state["lived"]
        self.collector, self.replay_buffer = None, ReplayBuffer(self.replay_buffer.capacity, self.replay_buffer.sampler)
        if lived is not None and state["rank"] == self.rank and len(lived["total"]) == self.local_batch:
            like = generator(self.seed, "like", self.step, rank=self.rank, device=self.updater.device)
            self.collector = self._make_collector(like)
            self.replay_buffer.unpack(state["replay"], recurrent_state(self.collector.carry.agent_state))
            self.collector.unpack(lived)
