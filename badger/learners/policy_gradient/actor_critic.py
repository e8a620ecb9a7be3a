"""The base of actor-critic learners: options, episode streams, bootstrap values, the masked loss and checkpoints.

Shapes: T step, B episode, P agent of an environment with several agents (`Task.agents`).
"""

from abc import ABC, abstractmethod
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from badger import distributed
from badger.act import Gaussian, WithCritic
from badger.agent import Agent
from badger.learners import returns
from badger.learners.episode_stream import (
    EpisodeStream,
    any_agent,
    episode_end_mask,
    episode_returns,
    open_stream,
    unpack_stream,
)
from badger.learners.expert_shares import ExpertShares
from badger.learners.requirements import check_critic, check_task, requirement
from badger.learners.returns import masked_mean
from badger.learners.schedules import LearningRate
from badger.learners.update import BASE_METRICS, GuardedAdamW, check_auxiliary, check_sizes, masked, metric_totals
from badger.moments import RewardScaling, pack_scaling, unpack_scaling
from badger.normalized_sense import normalizer_metrics, update_obs_moments
from badger.policies.correlated import exploring_policy
from badger.policies.policies import POLICIES, Policy, Sampled, log_probability, sampled_choices
from badger.registry import resolve_name
from badger.rng import generator
from badger.rollouts.loop import with_policy_state
from badger.rollouts.trajectory import Carry, Trajectory
from tasks import Continuous, Mixed, Task, TaskDistribution, nominal

ACTOR_CRITIC_METRICS = BASE_METRICS | {  # names that scores and auxiliary losses must not have
    "approx_kl", "clip_fraction", "ended_return", "entropy", "env_steps", "explained_variance", "policy_loss",
    "running_return", "simpson", "value_loss",
}  # fmt: skip
ENTROPY_SCHEDULES = ("constant", "lr")


class ActorCritic(ABC):
    """The base of learners with a stochastic policy and a critic, `A2C`, `PPO` and `REINFORCE`.

    The agent's act module is an `act.WithCritic`: the last number of its output is V, the value of the observation.
    Actions of the rollout are sampled. The loss is the weighted sum of its terms, each the mean over the *valid
    steps* of all processes. A step is valid where the environment uses the action: `Trajectory.active`. Two kinds of
    steps are masked out: the final observation of an episode, whose value bootstraps a truncation and whose action is
    ignored; and, in an environment with several agents, those of an agent that is absent or has ended. Each agent of
    such an environment has its own action, value and return. Only a termination stops bootstrapping.

    Metrics: `loss` and its terms `policy_loss`, `value_loss`, `entropy`; `explained_variance` of the returns by the
    critic; `gradient_norm` before clipping, `parameter_norm`, `lr`; `finite`, 0 if a loss or gradient was not finite
    and the step was skipped; the means of the task's scores and of the core's auxiliary losses; and

    - `return`: mean undiscounted return of the episodes that ended in this update; if none ended, of those that ended
      last; if none has ended yet, the mean reward of the running episodes. The mean over agents.
    - `episodes`: number of episodes that ended in this update, in all processes.
    - `env_steps`: environment steps so far, over all rows and processes, including those that only reset an episode.

    Args:
        agent: the agent to train.
        task: its environment; no distribution of tasks.
        experts: number of experts; None: the agent's own.
        batch: episodes that are rolled out in parallel, over all processes of the run.
        lr: learning rate: a number, or a function of the outer step, such as a `WarmupCosine`.
        gamma: discount factor of a step.
        lam: lambda of `returns.lambda_returns`; 1: Monte-Carlo and n-step returns.
        reward_scale: factor of the rewards in the loss, to bring values near 1; metrics are not scaled.
        noise_correlation: correlation of the exploration noise of continuous actions one step apart
            (`badger.policies.correlated`); 0: independent. Discrete actions have none.
        normalize_reward: divide the rewards in the loss by the standard deviation of the running discounted return
            (`badger.moments.RewardScaling`); `reward_scale` then has no effect.
        value_weight: weight of the squared error of the value.
        entropy_weight: weight of the entropy bonus.
        entropy_schedule: "constant", or "lr": the weight is multiplied by the learning rate over its peak, for training
            that must explore at first and would pay for it at the end.
        auxiliary: weights of the core's auxiliary losses by name; None: not trained on.
        eval_policy: policy of evaluations: "sampled", "greedy", or a factory as "module:name". Sampled is the policy
            that is trained; a greedy one may repeat an action for ever where two states give the same observation.
        clip: largest norm of the gradient; None: no clipping.
        betas, eps, weight_decay: of AdamW.
        shard_experts: spread the experts of each episode over the processes of the run, not the episodes
            (`badger.sharding`); the results are those of one process. A checkpoint of several processes has no running
            episodes; new ones start after loading.
        seed: seed of all random streams of the learner.
        rank: the process whose episodes are sampled; None: this one's.

    Raises:
        ValueError: a distribution of tasks, an agent without a critic or, for continuous actions, without a Gaussian
            policy, an option that is out of range, or shard_experts of an agent that needs all experts in one process.
    """

    needs_critic = True

    def __init__(
        self,
        agent: Agent,
        task: Task | TaskDistribution,
        *,
        experts: int | None,
        batch: int,
        lr: LearningRate,
        gamma: float,
        lam: float,
        reward_scale: float,
        normalize_reward: bool,
        value_weight: float,
        entropy_weight: float,
        entropy_schedule: str,
        auxiliary: dict[str, float] | None,
        noise_correlation: float,
        eval_policy: str,
        clip: float | None,
        betas: tuple[float, float],
        eps: float,
        weight_decay: float,
        shard_experts: bool,
        seed: int,
        rank: int | None,
    ):
        self.agent, self.task, self.seed = agent, self._check_requirements(agent, task), seed
        check_sizes({"batch": batch, "experts": experts}, {"gamma": gamma, "lam": lam})
        if not reward_scale > 0:
            raise ValueError(f"reward_scale={reward_scale}, want a number above 0")
        if not value_weight >= 0:
            raise ValueError(f"value_weight={value_weight}, want at least 0")
        self.experts = agent.experts if experts is None else experts
        self.shares = ExpertShares(agent, self.task, self.experts, spread=shard_experts)
        self.rank = self.shares.rank if rank is None else rank
        self.batch, self.local_batch = batch, self.shares.local_batch_size(batch)
        self.gamma, self.lam, self.reward_scale = gamma, lam, reward_scale
        self.weights = {"policy_loss": 1.0, "value_loss": value_weight, "entropy": -entropy_weight}
        if entropy_schedule not in ENTROPY_SCHEDULES:
            raise ValueError(f"entropy_schedule={entropy_schedule!r}, want one of {', '.join(ENTROPY_SCHEDULES)}")
        if entropy_schedule == "lr" and callable(lr) and not hasattr(lr, "peak"):
            raise ValueError(f"entropy_schedule='lr', and lr={lr!r} has no attribute peak, its highest learning rate")
        self.entropy_schedule = entropy_schedule
        self.auxiliary = check_auxiliary(auxiliary, agent.core)
        space = self.task.action_space
        sampled = requirement(self, "samples_numbers")
        self.rollout_policy = exploring_policy(space, noise_correlation) if sampled else sampled_choices(space)
        evaluated = resolve_name(POLICIES, eval_policy, "policy", callable)(space)
        self.eval_policy: Policy = self.rollout_policy if isinstance(evaluated, Sampled) else evaluated
        self.updater = GuardedAdamW(
            agent.parameters(), lr=lr, clip=clip, betas=betas, eps=eps, weight_decay=weight_decay
        )
        like = next(agent.parameters())
        self.reward_scaling = RewardScaling(gamma, like) if normalize_reward else None
        self.stream: EpisodeStream | None = None  # episodes that the next update continues
        # mean return of the episodes that ended last, NaN before any has ended
        self.last_return = like.new_full((), torch.nan)
        self.step = self.env_steps = 0

    @abstractmethod
    def update(self) -> dict[str, Tensor | float]:
        """One outer step; returns detached metrics, which stay on the device."""

    def rng(self) -> torch.Generator:
        """The generator of the next outer step."""
        return generator(self.seed, "train", self.step, rank=self.rank, device=self.updater.device)

    def acting_agent(self) -> Agent:
        """The agent of the rollouts: with all experts, or with those of this process."""
        return self.shares.agent(self.experts)

    def _open_stream(self, rng: torch.Generator) -> EpisodeStream:
        if self.reward_scaling is not None:
            self.reward_scaling.restart()
        return open_stream(self.acting_agent(), self.task, self.local_batch, rng, self.experts)

    def _bootstrap_value(self, carry: Carry, rng: torch.Generator) -> Float[Tensor, "B *P"]:
        """The value of the observation after the last step of a rollout."""
        with torch.no_grad():
            state = carry.agent_state.with_active_agents(carry.step.present)
            output, _ = self.acting_agent()(carry.step.obs, state, rng)
        return output[..., -1]

    def _log_probability(
        self, output: Float[Tensor, "*T D"], action: Tensor, action_mask: Tensor | None, policy_state: Tensor | None
    ) -> Float[Tensor, "*T"]:
        """Log-probability of actions of the rollout policy, given its state before each."""
        given = output if policy_state is None else self.rollout_policy.conditional_output(output, policy_state)
        return log_probability(given, action, self.task.action_space, action_mask)

    def _scaled_reward(self, trajectory: Trajectory, mask: Bool[Tensor, "T B *P"]) -> Float[Tensor, "T B *P"]:
        """The rewards of the loss."""
        reward = trajectory.reward.detach() * self.reward_scale
        if self.reward_scaling is None:
            return reward
        ended = trajectory.terminated | trajectory.truncated
        self.reward_scaling.update(reward, ended, mask, copies=self.shares.copies)
        return self.reward_scaling(reward)

    def _episode_metrics(
        self, trajectory: Trajectory, mask: Bool[Tensor, "T B *P"], stream: EpisodeStream
    ) -> tuple[dict[str, Tensor], Float[Tensor, "B *P2"]]:
        """Sums and counts of the metrics of episodes; and the reward of the running episodes after the rollout."""
        sums, episode_reward = episode_returns(trajectory, mask, stream.episode_reward)
        ended = episode_end_mask(trajectory, mask)
        totals = metric_totals([masked(trajectory, any_agent(mask))], self.task, self, ACTOR_CRITIC_METRICS)
        totals |= returns.ended_totals(sums, ended, copies=self.shares.copies)
        totals["running_return"] = torch.stack([sums[-1].sum(), torch.ones_like(sums[-1]).sum()])
        return totals, episode_reward

    def _finish_update(self, metrics: dict[str, Tensor], lr: float | Tensor, steps: int) -> dict[str, Tensor | float]:
        """Counts the outer step and its environment steps; returns its metrics."""
        ended_return, running_return = metrics.pop("ended_return"), metrics.pop("running_return")
        self.last_return = torch.where(ended_return.isnan(), self.last_return, ended_return)
        self.step += 1
        self.env_steps += steps * self.batch
        return_ = torch.where(self.last_return.isnan(), running_return, self.last_return)
        normalizer = normalizer_metrics(self.agent, self.reward_scaling)
        return {**metrics, **normalizer, "return": return_, "env_steps": float(self.env_steps), "lr": lr}

    def _update_obs_moments(self, trajectory: Trajectory) -> None:
        obs = trajectory.obs.detach()
        update_obs_moments(self.agent, obs, trajectory.present, copies=self.shares.copies)

    def _term_weights(self) -> dict[str, float]:
        """The weights of the terms of the loss in this outer step."""
        if self.entropy_schedule == "constant":
            return self.weights
        schedule: Any = self.updater.schedule
        return self.weights | {"entropy": self.weights["entropy"] * schedule(self.step) / schedule.peak}

    def _loss(
        self, terms: dict[str, Tensor], losses: dict[str, Tensor], mask: Bool[Tensor, "T B *P"]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted sum of the masked means of the terms and the core's losses; and the means, detached."""
        mask_rows = any_agent(mask)
        dtype = terms["policy_loss"].dtype
        counts = [mask.sum().to(dtype), mask_rows.sum().to(dtype)]
        distributed.all_reduce_mean_(counts)  # before the backward pass: processes may differ in their valid steps
        num_steps, num_rows = (count.clamp(min=1) for count in counts)
        values = torch.where(mask.unsqueeze(-1), torch.stack(list(terms.values()), -1), 0)
        means = dict(zip(terms, (values.flatten(0, -2).sum(0) / num_steps).unbind(), strict=True))
        weighted = (weight * means[name] for name, weight in self._term_weights().items() if weight)
        loss = sum(weighted, torch.zeros_like(num_steps))
        for name, weight in self.auxiliary.items():
            loss = loss + weight * masked_mean(losses[name], mask_rows, num_rows)
        return loss, {name: mean.detach() for name, mean in {"loss": loss, **means}.items()}

    def state_dict(self) -> dict[str, Any]:
        """Agent, optimizer, counters and running episodes, as plain types and tensors.

        Running episodes of an external environment (`Task.external`), or of experts that are spread over processes,
        are not saved; new ones start after loading, and `return` stays that of the episodes that ended last until
        others have ended.
        """
        stream = None if self.task.external or self.shares.copies > 1 else self.stream
        return {
            "agent": self.agent.state_dict(),
            "optimizer": self.updater.optimizer.state_dict(),
            "step": self.step,
            "env_steps": self.env_steps,
            "stream": None if stream is None else stream.pack(),
            "last_return": self.last_return,
            "reward_scaling": pack_scaling(self.reward_scaling),
            "rank": self.rank,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores a saved state. New episodes start if another rank or another batch size saved it.

        Args:
            state: from `state_dict`.
        """
        self.agent.load_state_dict(state["agent"])
        self.shares.forget()
        self.updater.optimizer.load_state_dict(state["optimizer"])
        self.step, self.env_steps, packed = state["step"], state["env_steps"], state["stream"]
        self.last_return = state.get("last_return", self.last_return)  # 0.2 did not save it
        matches = packed is not None and self.shares.copies == 1 and state["rank"] == self.rank
        matches = matches and len(packed["episode_reward"]) == self.local_batch
        like = generator(self.seed, "like", device=self.updater.device)
        self.stream = None
        if matches:
            new = with_policy_state(self._open_stream(like).carry, self.rollout_policy, like)
            self.stream = unpack_stream(packed, new)
        unpack_scaling(self.reward_scaling, state["reward_scaling"], same_episodes=matches)

    def _check_requirements(self, agent: Agent, task: Task | TaskDistribution) -> Task:
        name, learner = type(task).__name__, type(self).__name__
        check_task(self, learner, task)
        check_critic(self, learner, agent)
        assert isinstance(agent.act, WithCritic)
        task, base = nominal(task), agent.act.base
        space = task.action_space
        if not requirement(self, "samples_numbers"):
            return task
        numbers = space.numbers.size if isinstance(space, Mixed) else None
        if isinstance(space, Continuous | Mixed) and not (isinstance(base, Gaussian) and base.numbers == numbers):
            head = "head" if numbers is None else f"head, numbers={numbers}"
            raise ValueError(
                f"{name}: actions are {space}, and act.{type(base).__name__} has no standard deviation to sample them "
                f"with: build it with act=act.WithCritic(act.Gaussian({head})) for {learner}"
            )
        return task
