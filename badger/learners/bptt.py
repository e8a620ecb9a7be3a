"""Backpropagation through the inner loop: the gradient of an episode's reward with respect to the shared policy."""

import warnings
from typing import Any

import torch
from torch import Tensor

from badger import distributed
from badger.agent import Agent
from badger.learners.cuda_graph import CudaGraphStep, check_capturable
from badger.learners.requirements import check_critic, check_task
from badger.learners.schedules import LearningRate
from badger.learners.update import GuardedAdamW, check_auxiliary, metric_totals
from badger.policies.policies import Policy, identity_policy
from badger.rng import generator
from badger.rollouts.checkpointing import checkpointed_rollout
from badger.rollouts.precision import Precision, wrap_forward
from badger.rollouts.trajectory import Trajectory, detach_carry, initial_carry
from experts.torch_internals import compiler_error
from tasks import IntOrRange, Task, TaskDistribution, nominal, sample_size, sample_task, size_range


class BPTT:
    """One outer step: `batch` episodes are played, and AdamW climbs the gradient of their mean total reward.

    The gradient goes through the whole episode: experts, memories, bus, and the task itself, which must be
    differentiable. A loss or gradient that is not finite never reaches the parameters: the check stays on the device
    and the optimiser skips that step there; `finite` in the metrics says so.

    Args:
        agent, task: who learns what. rng streams follow from `seed`. Of a distribution of tasks (`tasks.RandomSizes`,
            `tasks.Mixture`) each outer step draws one; `task` is then the nominal one.
        batch: episodes in an outer step, over all processes that share the run.
        lr: a learning rate, or one for each outer step, such as a `WarmupCosine`.
        truncation: cut the gradient every so many steps of the episode; None: never.
        grad_checkpoint_steps: keep the graph of so many steps at a time, and play the others again in the backward pass; changes
            no number, costs a second forward pass, and lets long episodes fit
            (`badger.rollouts.checkpointing`). None: keep all.
        auxiliary: weights of the core's auxiliary losses by name; those not named here are not trained on.
        clip: largest norm of the gradient.
        betas: of AdamW. The second moment forgets faster than by torch's default of 0.999, for gradients grow by orders
            of magnitude within some 50 outer steps when a plateau ends.
        weight_decay: decoupled (Loshchilov and Hutter 2019).
        precision: "bf16" computes the products of the agent's steps in bfloat16; all else stays as it is.
        compile: the agent's step, by torch.compile or its backend of that name; where that fails, a warning says why
            and the plain step goes on.
        cuda_graph: capture the whole outer step once and replay it (`badger.learners.cuda_graph`).
        experts: how many, or a range of which each outer step draws a number; None: as the agent was built.
        rank: which process's episodes are drawn; None: this one's. Each draws its own.

    Raises:
        ValueError: the task gives no gradient, an agent that puts out a value, an auxiliary loss that the core does
            not have, a batch that the number of processes does not divide, or cuda_graph where there can be none.
    """

    needs_differentiable = True
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
        self.agent, self.seed, self.experts = agent, seed, (low, high)
        self.rank = distributed.rank() if rank is None else rank
        self.local_batch = distributed.local_batch_size(batch)
        self.batch, self.truncation, self.grad_checkpoint_steps = batch, truncation, grad_checkpoint_steps
        self.auxiliary = check_auxiliary(auxiliary, agent.core)
        self.precision, self.compile, self.cuda_graph = precision, compile, cuda_graph
        self.rollout_agent = wrap_forward(agent, precision=precision, compiled=compile)
        if cuda_graph:
            check_capturable(next(agent.parameters()).device, segment=grad_checkpoint_steps, varied=self.is_randomized)
        self.updater = GuardedAdamW(
            agent.parameters(), lr=lr, clip=clip, betas=betas, weight_decay=weight_decay, capturable=cuda_graph
        )
        self.schedule = self.updater.schedule
        self.parameters, self.optimiser = self.updater.parameters, self.updater.optimiser
        self.graph = CudaGraphStep(self._outer_step, self.parameters, self.optimiser) if cuda_graph else None
        self.eval_policy: Policy = identity_policy
        self.step = 0

    @property
    def device(self) -> torch.device:
        return self.updater.device

    @property
    def is_randomized(self) -> bool:
        """Whether the task or the number of experts is drawn anew for each outer step."""
        return isinstance(self.tasks, TaskDistribution) or self.experts[0] < self.experts[1]

    def sample_task_and_experts(self) -> tuple[Task, int]:
        """The task and the number of experts of the next outer step, the same for all processes that share the run."""
        if not self.is_randomized:
            return self.task, self.experts[0]
        rng = generator(self.seed, "sizes", self.step)
        return sample_task(self.tasks, rng, self.step), sample_size(self.experts, rng)

    def rng(self) -> torch.Generator:
        """Of the next outer step's episodes."""
        return generator(self.seed, "train", self.step, rank=self.rank, device=self.device)

    def update(self) -> dict[str, Tensor | float]:
        """One outer step. Returns detached tensors, still on the device: nothing here waits for it."""
        lr = self.schedule(self.step)
        metrics = (self.graph or self._outer_step)(self.rng(), lr)
        self.step += 1
        return {**metrics, "lr": lr}

    def apply_gradients(self, loss: Tensor, pieces: list[Trajectory]) -> dict[str, Tensor | float]:
        """The second half of an outer step, once the gradient is in the parameters: climbs, and tells of it."""
        lr = self.schedule(self.step)
        metrics = self._applied(loss, pieces, lr)
        self.step += 1
        return {**metrics, "lr": lr}

    def _outer_step(self, rng: torch.Generator, lr: float | Tensor) -> dict[str, Tensor]:
        self.optimiser.zero_grad()
        return self._applied(*(self._compiled(rng) if self.compile else self._backward(rng)), lr)

    def _applied(self, loss: Tensor, pieces: list[Trajectory], lr: float | Tensor) -> dict[str, Tensor]:
        return_ = torch.stack([piece.reward.detach().sum(0).mean() for piece in pieces]).sum()
        return self.updater.step(lr, {"loss": loss, "return": return_}, metric_totals(pieces, self.task, self))

    def _compiled(self, rng: torch.Generator) -> tuple[Tensor, list[Trajectory]]:
        try:
            return self._backward(rng)
        except compiler_error() as error:
            why = " ".join(str(error).split("\n\n")[0].split())
            warnings.warn(f"compile={self.compile!r} failed, the plain step goes on: {why}", stacklevel=4)
        self.compile = False
        self.rollout_agent = wrap_forward(self.agent, precision=self.precision)
        self.optimiser.zero_grad()
        return self._backward(rng.manual_seed(rng.initial_seed()))  # from the start of the same episodes

    def _backward(self, rng: torch.Generator) -> tuple[Tensor, list[Trajectory]]:
        """Plays the episodes piece by piece, and leaves the gradient in the parameters."""
        task, experts = self.sample_task_and_experts()
        carry = initial_carry(self.rollout_agent, task, self.local_batch, rng, experts=experts)
        total, pieces = torch.zeros((), device=self.device), []
        size = self.truncation or task.steps
        for begun in range(0, task.steps, size):
            if begun:
                carry = detach_carry(carry)
            steps = min(size, task.steps - begun)
            frames, carry = checkpointed_rollout(
                self.rollout_agent,
                task,
                carry,
                rng,
                steps=steps,
                grad_checkpoint_steps=self.grad_checkpoint_steps or steps,
            )
            loss = self._loss(frames, task.steps)
            if loss.requires_grad:  # a piece without reward before the episode's end may have none
                loss.backward()
            total = total + loss.detach()
            pieces.append(frames)
        return total, pieces

    def _loss(self, frames: Trajectory, steps: int) -> Tensor:
        """Of a piece of an episode of so many steps."""
        loss = -frames.reward.sum(0).mean()
        for name, weight in self.auxiliary.items():
            loss = loss + weight * frames.losses[name].sum(0).mean() / steps
        return loss

    def state_dict(self) -> dict[str, Any]:
        return {"agent": self.agent.state_dict(), "optimiser": self.optimiser.state_dict(), "step": self.step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.agent.load_state_dict(state["agent"])
        self.optimiser.load_state_dict(state["optimiser"])
        for group in self.optimiser.param_groups:
            group["capturable"] = self.cuda_graph  # as built, not as saved
        if self.cuda_graph:  # what was captured works on the storage of before
            self.graph = CudaGraphStep(self._outer_step, self.parameters, self.optimiser)
        self.step = state["step"]
