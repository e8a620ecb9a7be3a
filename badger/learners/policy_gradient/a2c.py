"""Advantage actor-critic (A2C): policy gradients with a learned value baseline, from sampled actions."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from badger.agent import Agent
from badger.learners import returns
from badger.learners.policy_gradient.actor_critic import ActorCritic
from badger.learners.schedules import LearningRate
from badger.learners.update import check_sizes
from badger.policies.policies import entropy, simpson
from badger.rollouts.recorded import differentiable_rollout
from badger.rollouts.trajectory import Carry, Trajectory, first_episode_mask, stack_steps
from tasks import Task, TaskDistribution


class A2C(ActorCritic):
    """Advantage actor-critic: one gradient step on a batch of whole episodes, or on `horizon` steps of running ones.

    The loss is the mean over the valid steps (see `ActorCritic`) of

        -log pi(a) (G - V) + value_weight (G - V)^2 - entropy_weight H(pi) + simpson_weight sum_a pi(a)^2

    The gradient goes through the agent's memory over all steps of the rollout; it stops at the start of the rollout.
    Where it can be computed from records of the core's steps, no graph of them is stored
    (`badger.rollouts.recorded`).
    With whole episodes, steps after the first episode of a row are masked out.

    Metrics: those of `ActorCritic`, and `simpson`, the last term of the loss.

    Args:
        horizon: steps of a rollout; episodes continue in the next outer step, and a rollout of a task of fixed length
            stops at the end of the episode. None: each outer step rolls out new episodes from start to end.
        simpson_weight: weight of the penalty on sum_a pi(a)^2, which keeps the policy from becoming deterministic.
        normalize_advantage: scale G - V in the first term to mean 0 and variance 1 over the rollout.
        grad_checkpoint_steps: store the graph of this many steps at a time and recompute the rest in the backward
            pass (`badger.rollouts.checkpointing`); None: store all.

    Source: Mnih et al. 2016, arXiv:1602.01783; the last term: Miconi et al. 2018, arXiv:1804.02464.
    """

    def __init__(
        self,
        agent: Agent,
        task: Task | TaskDistribution,
        *,
        experts: int | None = None,
        batch: int = 64,
        lr: LearningRate = 1e-3,
        horizon: int | None = None,
        gamma: float = 0.99,
        lam: float = 1.0,
        reward_scale: float = 1.0,
        normalize_reward: bool = False,
        value_weight: float = 0.5,
        entropy_weight: float = 0.01,
        entropy_schedule: str = "constant",
        simpson_weight: float = 0.0,
        normalize_advantage: bool = False,
        auxiliary: dict[str, float] | None = None,
        noise_correlation: float = 0.0,
        eval_policy: str = "sampled",
        grad_checkpoint_steps: int | None = None,
        clip: float | None = 1.0,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        shard_experts: bool = False,
        seed: int = 0,
        rank: int | None = None,
    ):
        super().__init__(
            agent,
            task,
            experts=experts,
            batch=batch,
            lr=lr,
            gamma=gamma,
            lam=lam,
            reward_scale=reward_scale,
            normalize_reward=normalize_reward,
            value_weight=value_weight,
            entropy_weight=entropy_weight,
            entropy_schedule=entropy_schedule,
            auxiliary=auxiliary,
            noise_correlation=noise_correlation,
            eval_policy=eval_policy,
            clip=clip,
            betas=betas,
            eps=eps,
            weight_decay=weight_decay,
            shard_experts=shard_experts,
            seed=seed,
            rank=rank,
        )
        check_sizes({"horizon": horizon, "grad_checkpoint_steps": grad_checkpoint_steps}, {})
        self.horizon, self.grad_checkpoint_steps = horizon, grad_checkpoint_steps
        self.weights["simpson"], self.normalize_advantage = simpson_weight, normalize_advantage

    def update(self) -> dict[str, Tensor | float]:
        """One outer step; returns detached metrics, on the device and without a synchronization."""
        lr, rng = self.updater.schedule(self.step), self.rng()
        stream = self.stream or self._open_stream(rng)
        trajectory, carry = self._collect(stream.carry, rng)
        mask = trajectory.active if self.horizon else trajectory.active & _first_episode(trajectory)
        totals, episode_reward = self._episode_metrics(trajectory, mask, stream)
        self.updater.optimizer.zero_grad()
        means = self._backward(trajectory, mask, self._bootstrap_value(carry, rng))
        metrics = self._finish_update(self.updater.step(lr, means, totals), lr, len(trajectory.obs))
        self._update_obs_moments(trajectory)
        self.stream = None if self.horizon is None else stream.advance(carry, episode_reward)
        return metrics

    def _collect(self, carry: Carry, rng: torch.Generator) -> tuple[Trajectory, Carry]:
        """The rollout of this outer step; it stops at the end of an episode of fixed length."""
        steps = self.task.steps
        if self.horizon is not None:
            remaining = steps - carry.elapsed % steps if self.task.fixed_length else self.horizon
            steps = min(self.horizon, remaining)
        return differentiable_rollout(
            self.acting_agent(),
            self.task,
            carry,
            rng,
            self.rollout_policy,
            steps=steps,
            grad_checkpoint_steps=self.grad_checkpoint_steps,
        )

    def _backward(
        self, trajectory: Trajectory, mask: Bool[Tensor, "T B *P"], bootstrap_value: Float[Tensor, "B *P"]
    ) -> dict[str, Tensor]:
        """Leaves the gradient in the parameters; returns the loss and its terms, detached."""
        value = trajectory.output[..., -1]
        return_ = returns.lambda_returns(
            self._scaled_reward(trajectory, mask),
            torch.cat([value.detach()[1:], bootstrap_value.unsqueeze(0)]),
            trajectory.terminated,
            trajectory.truncated,
            gamma=self.gamma,
            lam=self.lam,
        )
        loss, means = self._loss(self._loss_terms(trajectory, return_, mask), trajectory.losses, mask)
        loss.backward()
        return means | {"explained_variance": returns.explained_variance(value.detach(), return_, mask)}

    def _loss_terms(
        self, trajectory: Trajectory, return_: Float[Tensor, "T B *P"], mask: Bool[Tensor, "T B *P"]
    ) -> dict[str, Float[Tensor, "T B *P"]]:
        """The terms of the loss of each step, without their weights."""
        space, value = self.task.action_space, trajectory.output[..., -1]
        action_mask, policy_state = stack_steps(trajectory.action_masks), stack_steps(trajectory.policy_states)
        log_prob = self._log_probability(trajectory.output, trajectory.action, action_mask, policy_state)
        advantage = return_ - value.detach()
        if self.normalize_advantage:
            advantage = returns.masked_normalize(advantage, mask)
        return {
            "policy_loss": -log_prob * advantage,
            "value_loss": (return_ - value).square(),
            "entropy": entropy(trajectory.output, space, action_mask),
            "simpson": simpson(trajectory.output, space, action_mask),
        }


def _first_episode(trajectory: Trajectory) -> Bool[Tensor, "T B *_"]:
    mask = first_episode_mask(trajectory)
    return mask.unsqueeze(-1) if trajectory.active.dim() == 3 else mask
