"""What learners by reward share: who is taught, whose episodes go on, what they were worth and what is told of it.

Shapes: T step, B episode, P agent of the world where it has several (`Task.agents`).
"""

from abc import ABC, abstractmethod
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from badger import distributed
from badger.act import Gaussian, WithCritic
from badger.agent import Agent
from badger.learners import episode_stream as stream
from badger.learners.episode_stream import EpisodeStream
from badger.learners.requirements import check_critic, check_task
from badger.learners.returns import masked_mean
from badger.learners.schedules import LearningRate
from badger.learners.update import BASE_METRICS, GuardedAdamW, check_auxiliary, check_sizes, masked, metric_totals
from badger.policies.policies import POLICIES, Sampled
from badger.registry import resolve_name
from badger.rng import generator
from badger.rollouts.trajectory import Carry, Trajectory
from tasks import Continuous, Task, TaskDistribution

ACTOR_CRITIC_METRICS = BASE_METRICS | {  # what an update tells besides scores and the core's losses
    "approx_kl", "clip_fraction", "ended", "entropy", "env_steps", "explained_variance", "policy_loss", "simpson",
    "sofar", "value_loss",
}  # fmt: skip


class ActorCritic(ABC):
    """A learner that plays with actions that are drawn, and has a critic: an agent with `act.WithCritic`, whose last number
    is the value of what may come.

    weights: of the terms of its loss, by name. rng streams follow from `seed`.

    Raises:
        ValueError: a distribution of tasks, an agent that does not act as the task asks for or has no value, or sizes
            that make no sense.
    """

    needs_critic = True

    def __init__(
        self,
        agent: Agent,
        task: Task | TaskDistribution,
        *,
        experts: int | None,
        batch: int,
        sizes: dict[str, int | None],
        shares: dict[str, float],
        weights: dict[str, float],
        auxiliary: dict[str, float] | None,
        eval_policy: str,
        seed: int,
        rank: int | None,
        climbing: dict[str, Any],
    ):
        self.agent, self.task, self.seed = agent, self._checked(agent, task), seed
        check_sizes({"batch": batch, "experts": experts, **sizes}, shares)
        self.experts = agent.experts if experts is None else experts
        self.rank = distributed.rank() if rank is None else rank
        self.batch, self.local_batch = batch, distributed.local_batch_size(batch)
        self.weights, self.auxiliary = weights, check_auxiliary(auxiliary, agent.core)
        self.rollout_policy = Sampled(self.task.action_space)
        self.eval_policy = resolve_name(POLICIES, eval_policy, "policy", callable)(self.task.action_space)
        self.updater = GuardedAdamW(agent.parameters(), **climbing)
        self.stream: EpisodeStream | None = None  # of episodes that go on in the next update
        self.step = self.env_steps = 0

    @abstractmethod
    def update(self) -> dict[str, Tensor | float]:
        """One outer step. Returns detached tensors, still on the device."""

    def rng(self) -> torch.Generator:
        """Of the next outer step."""
        return generator(self.seed, "train", self.step, rank=self.rank, device=self.updater.device)

    def _open_stream(self, rng: torch.Generator) -> EpisodeStream:
        return stream.open_stream(self.agent, self.task, self.local_batch, rng, self.experts)

    def _bootstrap_value(self, carry: Carry, rng: torch.Generator) -> Float[Tensor, "B *P"]:
        """The value of where a rollout has ended."""
        with torch.no_grad():
            output, _ = self.agent(carry.step.obs, carry.agent_state.with_active_agents(carry.step.present), rng)
        return output[..., -1]

    def _episode_metrics(
        self, frames: Trajectory, counts: Bool[Tensor, "T B *P"], before: EpisodeStream
    ) -> tuple[dict, Tensor]:
        """Sums and counts of what is told of the episodes; and the reward so far of those that go on."""
        sums, total = stream.episode_returns(frames, counts, before.episode_reward)
        ended = stream.episode_end_mask(frames, counts)
        scored = metric_totals([masked(frames, stream.any_agent(counts))], self.task, self, ACTOR_CRITIC_METRICS)
        scored["ended"] = torch.stack([torch.where(ended, sums, 0).sum(), ended.sum().to(sums.dtype)])
        scored["sofar"] = torch.stack([sums[-1].sum(), torch.ones_like(total).sum()])
        return scored, total

    def _finish_update(
        self, metrics: dict[str, Tensor], last_return: Tensor, lr: float | Tensor, steps: int
    ) -> tuple[dict[str, Tensor | float], Tensor]:
        """The metrics of an outer step of so many steps; `return` is the mean total reward of the episodes that ended
        in it, or last, or before any has ended, of all so far: known, which is given back for the next."""
        ended, running_return = metrics.pop("ended"), metrics.pop("sofar")
        last_return = torch.where(ended.isnan(), last_return, ended)
        self.step += 1
        self.env_steps += steps * self.batch
        return_ = torch.where(last_return.isnan(), running_return, last_return)
        return {**metrics, "return": return_, "env_steps": float(self.env_steps), "lr": lr}, last_return

    def _loss(
        self, parts: dict[str, Tensor], losses: dict[str, Tensor], counts: Bool[Tensor, "T B *P"]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted sum of what the parts and the core's losses are in the mean over what counts; and each part's
        mean. Where processes share the run, over what counts in all of them."""
        acted = stream.any_agent(counts)
        dtype = parts["policy_loss"].dtype
        numbers = [counts.sum().to(dtype), acted.sum().to(dtype)]
        distributed.all_reduce_mean_(numbers)  # before the backward pass: processes may differ in how many steps count
        number, rows = (n.clamp(min=1) for n in numbers)
        each = torch.where(counts.unsqueeze(-1), torch.stack(list(parts.values()), -1), 0)
        means = dict(zip(parts, (each.flatten(0, -2).sum(0) / number).unbind(), strict=True))
        loss = sum((weight * means[name] for name, weight in self.weights.items() if weight), torch.zeros_like(number))
        for name, weight in self.auxiliary.items():
            loss = loss + weight * masked_mean(losses[name], acted, rows)
        return loss, {name: part.detach() for name, part in {"loss": loss, **means}.items()}

    def state_dict(self) -> dict[str, Any]:
        stream = None if self.task.external else self.stream  # worlds that are not ours begin anew after loading
        return {
            "agent": self.agent.state_dict(),
            "optimiser": self.updater.optimiser.state_dict(),
            "step": self.step,
            "env_steps": self.env_steps,
            "stream": None if stream is None else stream.pack(),
            "rank": self.rank,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """A stream that another process has saved, or one of another batch, is not this one's: it begins anew."""
        self.agent.load_state_dict(state["agent"])
        self.updater.optimiser.load_state_dict(state["optimiser"])
        self.step, packed = state["step"], state["stream"]
        self.env_steps = state.get("env_steps", 0)  # older checkpoints did not count
        own = packed is not None and state["rank"] == self.rank and len(packed["total"]) == self.local_batch
        like = generator(self.seed, "like", device=self.updater.device)
        self.stream = stream.unpack_stream(packed, self._open_stream(like).carry) if own else None

    def _checked(self, agent: Agent, task: Task | TaskDistribution) -> Task:
        name, learner = type(task).__name__, type(self).__name__
        check_task(self, learner, task)
        check_critic(self, learner, agent)
        assert isinstance(task, Task) and isinstance(agent.act, WithCritic)
        if isinstance(task.action_space, Continuous) and not isinstance(agent.act.base, Gaussian):
            raise ValueError(
                f"{name}: actions are {task.action_space}, and act.{type(agent.act.base).__name__} has no standard "
                f"deviation to sample them with: build it with act=act.WithCritic(act.Gaussian(head)) for {learner}"
            )
        return task


def optimizer_options(
    *, lr: LearningRate, clip: float | None, betas: tuple[float, float], eps: float, weight_decay: float
) -> dict[str, Any]:
    """Options of the `GuardedAdamW`."""
    return {"lr": lr, "clip": clip, "betas": betas, "eps": eps, "weight_decay": weight_decay}
