"""Backpropagation through time: the gradient of an episode's total reward with respect to the shared weights."""

import warnings
from typing import Any

import torch
from torch import Tensor

from badger.agent import Agent
from badger.learners.cuda_graph import CudaGraphStep, check_capturable
from badger.learners.expert_shares import ExpertShares
from badger.learners.requirements import check_critic, check_task
from badger.learners.schedules import LearningRate
from badger.learners.update import GuardedAdamW, check_auxiliary, metric_totals
from badger.normalized_sense import update_obs_moments
from badger.policies.policies import Policy, identity_policy
from badger.rng import generator
from badger.rollouts.checkpointing import checkpointed_rollout
from badger.rollouts.precision import Precision, wrap_forward
from badger.rollouts.trajectory import Trajectory, detach_carry, initial_carry
from experts.torch_internals import compiler_error
from tasks import (
    Continuous,
    Discrete,
    IntOrRange,
    MultiDiscrete,
    Task,
    TaskDistribution,
    nominal,
    sample_size,
    sample_task,
    size_range,
)


class BPTT:
    """Backpropagation through time over whole episodes, with AdamW on the gradient of their mean total reward.

    The gradient goes through all steps of the episode: experts, memories, bus, and the task itself, which must be
    differentiable. The optimizer skips a step whose loss or gradient is not finite, on the device; the metric `finite`
    is then 0.

    Metrics: `loss`, `return` (mean total reward of the episodes), `episodes` (their number), `gradient_norm` before
    clipping, `parameter_norm`, `finite`, `lr`, and the means of the task's scores and of the core's auxiliary losses.

    Args:
        agent: the agent to train, without a critic.
        task: a differentiable task; or a distribution of tasks (`tasks.RandomSizes`, `tasks.Mixture`), of which each
            outer step samples one.
        experts: number of experts, or a range from which each outer step samples it; None: the agent's own.
        batch: episodes in an outer step, over all processes of the run.
        lr: learning rate: a number, or a function of the outer step, such as a `WarmupCosine`.
        truncation: steps after which the gradient is truncated, repeatedly; None: never.
        grad_checkpoint_steps: store the graph of this many steps at a time and recompute the rest in the backward
            pass (`badger.rollouts.checkpointing`); exact, for one more forward pass. None: store all.
        auxiliary: weights of the core's auxiliary losses by name; None: not trained on.
        clip: largest norm of the gradient.
        betas: of AdamW. The second moment decays faster than by torch's default of 0.999, because gradients grow by
            orders of magnitude within some 50 outer steps at the end of a plateau.
        weight_decay: decoupled weight decay of AdamW.
        precision: "bf16" computes the matrix products of the agent's steps in bfloat16.
        compile: compile the agent's step with torch.compile, or with its backend of that name. If compilation fails,
            a warning gives the reason and training continues without it.
        cuda_graph: capture the outer step as a CUDA graph and replay it (`badger.learners.cuda_graph`).
        shard_experts: spread the experts of each episode over the processes of the run, not the episodes
            (`badger.sharding`); the results are those of one process.
        seed: seed of all random streams of the learner.
        rank: the process whose episodes are sampled; None: this one's. Each process samples its own.

    Raises:
        ValueError: a task without gradient, an agent with a critic, an auxiliary loss that the core does not have, a
            batch that is not divisible by the number of processes, cuda_graph where no capture is possible, or
            shard_experts of an agent that needs all experts in one process.
    """

    needs_differentiable = True
    action_kinds = (Discrete, MultiDiscrete, Continuous)
    takes_distributions = True
    joins_populations = True

    def __init__(
        self,
        agent: Agent,
        task: Task | TaskDistribution,
        *,
        experts: IntOrRange | None = None,
        batch: int = 64,
        lr: LearningRate = 2e-3,
        truncation: int | None = None,
        grad_checkpoint_steps: int | None = None,
        auxiliary: dict[str, float] | None = None,
        clip: float = 1.0,
        betas: tuple[float, float] = (0.9, 0.95),
        weight_decay: float = 0.0,
        precision: Precision = "float32",
        compile: bool | str = False,
        cuda_graph: bool = False,
        shard_experts: bool = False,
        seed: int = 0,
        rank: int | None = None,
    ):
        self.tasks, self.task = task, nominal(task)
        check_task(self, "BPTT", task)
        check_critic(self, "BPTT", agent)
        for name, size in {
            "batch": batch,
            "truncation": truncation,
            "grad_checkpoint_steps": grad_checkpoint_steps,
        }.items():
            if size is not None and size < 1:
                raise ValueError(f"{name}={size}, want at least 1")
        low, high = size_range(experts=agent.experts if experts is None else experts)
        if low < 1:
            raise ValueError(f"experts={experts}, want at least 1")
        for size in dict.fromkeys((low, min(low + 1, high), high)):  # low + 1: the head may want multiples
            agent.act.make_assignment(torch.zeros(1, 1), size, agent.act.outputs, torch.Generator())
        self.agent, self.seed, self.experts = agent, seed, (low, high)
        if shard_experts and compile:
            raise ValueError(
                f"shard_experts=True with compile={compile!r}: the exchange is not compiled; leave one of them out"
            )
        self.shares = ExpertShares(agent, self.task, low, spread=shard_experts)
        self.rank = self.shares.rank if rank is None else rank
        self.local_batch = self.shares.local_batch_size(batch)
        self.batch, self.truncation, self.grad_checkpoint_steps = batch, truncation, grad_checkpoint_steps
        self.auxiliary = check_auxiliary(auxiliary, agent.core)
        self.precision, self.compile, self.cuda_graph = precision, compile, cuda_graph
        self.rollout_agent = wrap_forward(agent, precision=precision, compiled=compile)
        if cuda_graph:
            check_capturable(
                next(agent.parameters()).device,
                grad_checkpoint_steps=grad_checkpoint_steps,
                randomized=self.is_randomized,
            )
        self.updater = GuardedAdamW(
            agent.parameters(), lr=lr, clip=clip, betas=betas, weight_decay=weight_decay, capturable=cuda_graph
        )
        self.schedule = self.updater.schedule
        self.parameters, self.optimizer = self.updater.parameters, self.updater.optimizer
        self.graph = CudaGraphStep(self._outer_step, self.parameters, self.optimizer) if cuda_graph else None
        self.eval_policy: Policy = identity_policy
        self.step = 0

    @property
    def device(self) -> torch.device:
        """The device of the parameters."""
        return self.updater.device

    @property
    def env_steps(self) -> int:
        """The environment steps so far, over all rows and processes, of episodes of nominal length."""
        return self.step * self.batch * self.task.steps

    @property
    def is_randomized(self) -> bool:
        """Whether each outer step samples the task or the number of experts."""
        return isinstance(self.tasks, TaskDistribution) or self.experts[0] < self.experts[1]

    def sample_task_and_experts(self) -> tuple[Task, int]:
        """The task and the number of experts of the next outer step, the same in all processes of the run."""
        if not self.is_randomized:
            return self.task, self.experts[0]
        rng = generator(self.seed, "sizes", self.step)
        return sample_task(self.tasks, rng, self.step), sample_size(self.experts, rng)

    def rng(self) -> torch.Generator:
        """The generator of the next outer step."""
        return generator(self.seed, "train", self.step, rank=self.rank, device=self.device)

    def update(self) -> dict[str, Tensor | float]:
        """One outer step; returns detached metrics, on the device and without a synchronization."""
        lr = self.schedule(self.step)
        metrics = (self.graph or self._outer_step)(self.rng(), lr)
        self.step += 1
        return {**metrics, "episodes": float(self.batch), "lr": lr}

    def apply_gradients(self, loss: Tensor, trajectories: list[Trajectory]) -> dict[str, Tensor | float]:
        """The second half of an outer step: an optimizer step on the gradient in the parameters, and its metrics.

        Args:
            loss: () the loss of that gradient, detached.
            trajectories: the rollouts, in order.
        """
        lr = self.schedule(self.step)
        metrics = self._apply(loss, trajectories, lr)
        self.step += 1
        return {**metrics, "episodes": float(self.batch), "lr": lr}

    def _outer_step(self, rng: torch.Generator, lr: float | Tensor) -> dict[str, Tensor]:
        self.optimizer.zero_grad()
        return self._apply(*(self._backward_compiled(rng) if self.compile else self._backward(rng)), lr)

    def _apply(self, loss: Tensor, trajectories: list[Trajectory], lr: float | Tensor) -> dict[str, Tensor]:
        return_ = torch.stack([trajectory.reward.detach().sum(0).mean() for trajectory in trajectories]).sum()
        metrics = self.updater.step(lr, {"loss": loss, "return": return_}, metric_totals(trajectories, self.task, self))
        for trajectory in trajectories:
            update_obs_moments(self.agent, trajectory.obs.detach(), trajectory.present, copies=self.shares.copies)
        return metrics

    def _backward_compiled(self, rng: torch.Generator) -> tuple[Tensor, list[Trajectory]]:
        try:
            return self._backward(rng)
        except compiler_error() as error:
            reason = " ".join(str(error).split("\n\n")[0].split())
            warnings.warn(f"compile={self.compile!r} failed, training continues without it: {reason}", stacklevel=4)
        self.compile = False
        self.rollout_agent = wrap_forward(self.agent, precision=self.precision)
        self.optimizer.zero_grad()
        return self._backward(rng.manual_seed(rng.initial_seed()))  # the same episodes from their start

    def _backward(self, rng: torch.Generator) -> tuple[Tensor, list[Trajectory]]:
        """Rolls out the episodes in truncated pieces, and leaves the gradient in the parameters."""
        task, experts = self.sample_task_and_experts()
        agent = self.rollout_agent
        if self.shares.spread:
            agent = wrap_forward(self.shares.agent(experts), precision=self.precision)
        carry = initial_carry(agent, task, self.local_batch, rng, experts=experts)
        total_loss, trajectories = torch.zeros((), device=self.device), []
        size = self.truncation or task.steps
        for start in range(0, task.steps, size):
            if start:
                carry = detach_carry(carry)
            steps = min(size, task.steps - start)
            trajectory, carry = checkpointed_rollout(
                agent,
                task,
                carry,
                rng,
                steps=steps,
                grad_checkpoint_steps=self.grad_checkpoint_steps or steps,
            )
            loss = self._loss(trajectory, task.steps)
            if loss.requires_grad:  # a piece without a differentiable reward has no gradient
                loss.backward()
            total_loss = total_loss + loss.detach()
            trajectories.append(trajectory)
        return total_loss, trajectories

    def acting_agent(self) -> Agent:
        """The agent with the experts of this process, at their largest number."""
        return self.shares.agent(self.experts[1])

    def _loss(self, trajectory: Trajectory, episode_steps: int) -> Tensor:
        """The loss of a piece of an episode; `episode_steps`: steps of the whole episode."""
        loss = -trajectory.reward.sum(0).mean()
        for name, weight in self.auxiliary.items():
            loss = loss + weight * trajectory.losses[name].sum(0).mean() / episode_steps
        return loss

    def state_dict(self) -> dict[str, Any]:
        """Agent, optimizer and number of outer steps, as plain types and tensors."""
        return {"agent": self.agent.state_dict(), "optimizer": self.optimizer.state_dict(), "step": self.step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores a saved state.

        Args:
            state: from `state_dict`.
        """
        self.agent.load_state_dict(state["agent"])
        self.shares.forget()
        self.optimizer.load_state_dict(state["optimizer"])
        for group in self.optimizer.param_groups:
            group["capturable"] = self.cuda_graph  # as constructed, not as saved
        if self.cuda_graph:  # the captured graph refers to the old storage
            self.graph = CudaGraphStep(self._outer_step, self.parameters, self.optimizer)
        self.step = state["step"]
