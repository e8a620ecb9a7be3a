"""Advantage actor-critic: learning by reward alone, from actions that are drawn."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from badger.agent import Agent
from badger.learners import returns
from badger.learners.actor_critic import ActorCritic, optimizer_options
from badger.learners.schedules import LearningRate
from badger.policies.policies import entropy, log_probability, simpson
from badger.rollouts.checkpointing import checkpointed_rollout
from badger.rollouts.trajectory import Carry, Trajectory, first_episode_mask
from tasks import Task, TaskDistribution


class A2C(ActorCritic):
    """One outer step: `batch` episodes are played, in whole or `horizon` steps on from where they stood, and AdamW
    makes the choices likelier that brought more than the critic had expected.

    The loss is the mean over steps of

        -log pi(a) (G - V) + value_weight (G - V)^2 - entropy_weight H(pi) + simpson_weight sum_a pi(a)^2

    (Mnih et al. 2016, arXiv:1602.01783; the last term Miconi et al. 2018, arXiv:1804.02464). The gradient goes through
    the agent's memory over all steps of the rollout, and ends where it began. The value is the last number that an
    agent with `act.WithCritic` puts out; each episode has its own, and in a world of several agents each of them, of whom
    those count who act. Only a termination ends the value of the future: an
    episode that is cut short is worth the value of its final observation.

    Metrics: `return` is the mean total reward of the episodes played; of a stream, of those that ended in this rollout,
    or last, or before any has ended, of all so far; of several agents the mean. `env_steps`: steps of the world so far,
    over all rows, with those that only open an episode. A loss or gradient that is not finite never reaches the
    parameters.

    Args:
        agent, task: who learns what. rng streams follow from `seed`.
        experts: how many; None: as the agent was built.
        batch: episodes at once, over all processes that share the run.
        lr: a learning rate, or one for each outer step, such as a `WarmupCosine`.
        horizon: steps in an outer step, where episodes go on from one to the next; an end of a task of fixed length is
            never crossed. None: each outer step plays new episodes from their beginning to their end.
        gamma: discount of a step. lam: of `returns.lambda_returns`; 1: Monte-Carlo or n-step returns.
        reward_scale: by which rewards are multiplied before anything is learned from them, so that values, which begin
            at 0, are near 1; metrics tell rewards as they are.
        auxiliary: weights of the core's auxiliary losses by name, mean over steps.
        eval_policy: how the agent acts when it is evaluated, "sampled" or "greedy". As it was trained, if not told
            otherwise: rewards are then those that it learns from, and a policy that draws does not go in circles where
            it cannot tell two places apart.
        grad_checkpoint_steps: keep the graph of so many steps at a time (`badger.rollouts.checkpointing`); None: of all.
        clip: largest norm of the gradient; None: any.
        betas, eps, weight_decay: of AdamW.
        rank: which process's episodes are drawn; None: this one's.

    Raises:
        ValueError: a distribution of tasks, an agent without a value, or sizes that make no sense.
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
        value_weight: float = 0.5,
        entropy_weight: float = 0.01,
        simpson_weight: float = 0.0,
        auxiliary: dict[str, float] | None = None,
        eval_policy: str = "sampled",
        grad_checkpoint_steps: int | None = None,
        clip: float | None = 1.0,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        seed: int = 0,
        rank: int | None = None,
    ):
        self.horizon, self.grad_checkpoint_steps = horizon, grad_checkpoint_steps
        self.gamma, self.lam, self.reward_scale = gamma, lam, reward_scale
        super().__init__(
            agent,
            task,
            experts=experts,
            batch=batch,
            sizes={"horizon": horizon, "grad_checkpoint_steps": grad_checkpoint_steps},
            shares={"gamma": gamma, "lam": lam},
            weights={
                "policy_loss": 1.0, "value_loss": value_weight, "entropy": -entropy_weight, "simpson": simpson_weight
            },
            auxiliary=auxiliary,
            eval_policy=eval_policy,
            seed=seed,
            rank=rank,
            climbing=optimizer_options(lr=lr, clip=clip, betas=betas, eps=eps, weight_decay=weight_decay),
        )  # fmt: skip

    def update(self) -> dict[str, Tensor | float]:
        """One outer step. Returns detached tensors, still on the device: nothing here waits for it."""
        lr, rng = self.updater.schedule(self.step), self.rng()
        stream = self.stream or self._open_stream(rng)
        frames, carry = self._collect(stream.carry, rng)
        counts = frames.active if self.horizon else frames.active & _first(frames)
        totals, total = self._episode_metrics(frames, counts, stream)
        self.updater.optimiser.zero_grad()
        means = self._backward(frames, counts, self._bootstrap_value(carry, rng))
        metrics, known = self._finish_update(
            self.updater.step(lr, means, totals), stream.last_return, lr, len(frames.obs)
        )
        self.stream = None if self.horizon is None else stream.advance(carry, total, known)
        return metrics

    def _collect(self, carry: Carry, rng: torch.Generator) -> tuple[Trajectory, Carry]:
        """The rollout of this outer step; it ends with the episode where that is known beforehand."""
        steps = self.task.steps
        if self.horizon is not None:
            left = steps - carry.elapsed % steps if self.task.fixed_length else self.horizon
            steps = min(self.horizon, left)
        return checkpointed_rollout(
            self.agent,
            self.task,
            carry,
            rng,
            self.rollout_policy,
            steps=steps,
            grad_checkpoint_steps=self.grad_checkpoint_steps or steps,
        )

    def _backward(
        self, frames: Trajectory, counts: Bool[Tensor, "T B *P"], worth: Float[Tensor, "B *P"]
    ) -> dict[str, Tensor]:
        """Leaves the gradient in the parameters; the loss and its parts, detached."""
        value = frames.output[..., -1]
        return_ = returns.lambda_returns(
            frames.reward.detach() * self.reward_scale,
            torch.cat([value.detach()[1:], worth.unsqueeze(0)]),
            frames.terminated,
            frames.truncated,
            gamma=self.gamma,
            lam=self.lam,
        )
        loss, means = self._loss(self._loss_terms(frames, return_), frames.losses, counts)
        loss.backward()
        return means | {"explained_variance": returns.explained_variance(value.detach(), return_, counts)}

    def _loss_terms(self, frames: Trajectory, return_: Float[Tensor, "T B *P"]) -> dict[str, Float[Tensor, "T B *P"]]:
        """The terms of the loss, of each step."""
        action, value = self.task.action_space, frames.output[..., -1]
        legal = torch.stack(frames.action_masks) if frames.action_masks else None
        advantage = return_ - value.detach()
        return {
            "policy_loss": -log_probability(frames.output, frames.action, action, legal) * advantage,
            "value_loss": (return_ - value).square(),
            "entropy": entropy(frames.output, action, legal),
            "simpson": simpson(frames.output, action, legal),
        }


def _first(frames: Trajectory) -> Bool[Tensor, "T B *_"]:
    first = first_episode_mask(frames)
    return first.unsqueeze(-1) if frames.active.dim() == 3 else first
