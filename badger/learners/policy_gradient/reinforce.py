"""REINFORCE for the choices of an action, and backpropagation through time for the real numbers beside them."""

import torch
from jaxtyping import Float
from torch import Tensor

from badger.agent import Agent
from badger.learners import returns
from badger.learners.episode_stream import EpisodeStream
from badger.learners.policy_gradient.actor_critic import ActorCritic
from badger.learners.schedules import LearningRate
from badger.learners.update import check_sizes
from badger.policies.policies import entropy, log_probability
from badger.rng import generator
from badger.rollouts.checkpointing import checkpointed_rollout
from badger.rollouts.trajectory import Trajectory, first_episode_mask, initial_carry, stack_steps
from tasks import Discrete, Mixed, MultiDiscrete, Task, TaskDistribution, sample_task


class REINFORCE(ActorCritic):
    """The gradient of the expected return where an action has choices, which are sampled, and real numbers.

    With choices a and returns R that depend on the parameters, too, grad E[R] = E[R grad log pi(a) + grad R]: the first
    term is the score function's (REINFORCE), with V as a baseline, the second that of backpropagation through the task.
    So the moves of the heads of an RL-NTM are learned by reward, and what they write by gradient. Real numbers are the
    agent's outputs, without noise. A task whose actions are choices alone has the first term alone.

    Each outer step rolls out whole episodes. The loss is the mean over the steps of the first episode of each row of

        -log pi(a) (G - V) - r + value_weight (G - V)^2 - entropy_weight H(pi)

    with G the sum of the discounted rewards from this step on. The gradient of -r is that of the undiscounted return.

    Metrics: those of `ActorCritic`, and `pathwise_loss`, the mean of -r.

    Args:
        agent: the agent to train, with `act.WithCritic` and without `act.Gaussian`.
        task: a task, or a distribution of tasks, of which each outer step samples one; with real numbers beside
            choices it must be differentiable.
        experts: number of experts; None: the agent's own.
        batch: episodes in an outer step, over all processes of the run.
        lr: learning rate: a number, or a function of the outer step.
        gamma: discount factor of a step.
        value_weight: weight of the squared error of the value.
        entropy_weight: weight of the entropy bonus of the choices.
        auxiliary: weights of the core's auxiliary losses by name; None: not trained on.
        eval_policy: policy of evaluations: "sampled" or "greedy".
        grad_checkpoint_steps: store the graph of this many steps at a time and recompute the rest in the backward
            pass (`badger.rollouts.checkpointing`); None: store all.
        clip: largest norm of the gradient; None: no clipping.
        betas, eps, weight_decay: of AdamW.
        seed: seed of all random streams of the learner.
        rank: the process whose episodes are sampled; None: this one's.

    Raises:
        ValueError: as `ActorCritic`; real numbers whose rewards have no gradient.

    Source: Williams 1992; Zaremba and Sutskever 2015 (arXiv:1505.00521), section 5; Schulman et al. 2015
    (arXiv:1506.05254).
    """

    samples_numbers = False
    takes_distributions = True
    takes_agents = False
    action_kinds = (Discrete, MultiDiscrete, Mixed)

    def __init__(
        self,
        agent: Agent,
        task: Task | TaskDistribution,
        *,
        experts: int | None = None,
        batch: int = 64,
        lr: LearningRate = 1e-3,
        gamma: float = 1.0,
        value_weight: float = 0.5,
        entropy_weight: float = 0.01,
        auxiliary: dict[str, float] | None = None,
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
            lam=1.0,
            reward_scale=1.0,
            normalize_reward=False,
            value_weight=value_weight,
            entropy_weight=entropy_weight,
            entropy_schedule="constant",
            auxiliary=auxiliary,
            noise_correlation=0.0,
            eval_policy=eval_policy,
            clip=clip,
            betas=betas,
            eps=eps,
            weight_decay=weight_decay,
            shard_experts=shard_experts,
            seed=seed,
            rank=rank,
        )
        check_sizes({"grad_checkpoint_steps": grad_checkpoint_steps}, {})
        self.tasks, self.grad_checkpoint_steps = task, grad_checkpoint_steps
        space = self.task.action_space
        if isinstance(space, Mixed) and not self.task.differentiable:
            raise ValueError(
                f"{type(self.task).__name__}: the real numbers of its actions, {space.numbers}, get no gradient "
                "from its rewards; use a learner that samples them, such as ppo or a2c"
            )
        self.choices = space.choices if isinstance(space, Mixed) else space
        self.weights["pathwise_loss"] = 1.0

    def update(self) -> dict[str, Tensor | float]:
        """One outer step; returns detached metrics, on the device and without a synchronization."""
        lr, rng = self.updater.schedule(self.step), self.rng()
        task = sample_task(self.tasks, generator(self.seed, "sizes", self.step), self.step)
        start = initial_carry(self.acting_agent(), task, self.local_batch, rng, experts=self.experts)
        trajectory, carry = checkpointed_rollout(
            self.acting_agent(),
            task,
            start,
            rng,
            self.rollout_policy,
            steps=task.steps,
            grad_checkpoint_steps=self.grad_checkpoint_steps or task.steps,
        )
        mask = trajectory.active & first_episode_mask(trajectory)
        totals, _ = self._episode_metrics(trajectory, mask, EpisodeStream(start, torch.zeros_like(start.step.reward)))
        self.updater.optimizer.zero_grad()
        return_, value = self._returns(trajectory, self._bootstrap_value(carry, rng))
        loss, means = self._loss(self._loss_terms(trajectory, return_, value), trajectory.losses, mask)
        loss.backward()
        means["explained_variance"] = returns.explained_variance(value.detach(), return_, mask)
        metrics = self._finish_update(self.updater.step(lr, means, totals), lr, task.steps)
        self._update_obs_moments(trajectory)
        return metrics

    def _returns(
        self, trajectory: Trajectory, bootstrap_value: Float[Tensor, " B"]
    ) -> tuple[Float[Tensor, "T B"], Float[Tensor, "T B"]]:
        """The return from each step on, without gradient, and the value, with its gradient."""
        value = trajectory.output[..., -1]
        value_next = torch.cat([value.detach()[1:], bootstrap_value.unsqueeze(0)])
        ends = trajectory.terminated, trajectory.truncated
        return returns.lambda_returns(trajectory.reward.detach(), value_next, *ends, gamma=self.gamma), value

    def _loss_terms(
        self, trajectory: Trajectory, return_: Float[Tensor, "T B"], value: Float[Tensor, "T B"]
    ) -> dict[str, Float[Tensor, "T B"]]:
        """The terms of the loss of each step, without their weights."""
        space, action_mask = self.task.action_space, stack_steps(trajectory.action_masks)
        logits, action = trajectory.output[..., : self.choices.size], trajectory.action
        if isinstance(space, Mixed):
            action, _ = space.split(action)
        return {
            "policy_loss": -log_probability(logits, action, self.choices, action_mask) * (return_ - value.detach()),
            "pathwise_loss": -trajectory.reward,
            "value_loss": (return_ - value).square(),
            "entropy": entropy(logits, self.choices, action_mask),
        }
