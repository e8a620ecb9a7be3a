"""Advantage actor-critic: learning by reward alone, from actions that are drawn."""

from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from badger import distributed, returns
from badger.act import Valued
from badger.agent import Agent
from badger.climb import OWN, Climber, penalties, told
from badger.policy import POLICIES, Sampled, choice, entropy, log_probability, simpson
from badger.rng import generator
from badger.rollout import Carry, Frames, cut, first_episodes, start
from badger.schedule import Schedule
from badger.segments import segmented
from comms import pick
from experts import state as states
from tasks import Task, Varied

MEANS = {"policy_loss", "value_loss", "entropy", "simpson", "explained_variance"}  # what an update tells besides


class Stream(NamedTuple):
    """Where the episodes stand between two updates. total: reward of each so far. known: the mean of those that ended
    last, NaN before any has."""

    carry: Carry
    total: Float[Tensor, " B"]
    known: Float[Tensor, ""]


class A2C:
    """One outer step: `batch` episodes are played, in whole or `horizon` steps on from where they stood, and AdamW
    makes the choices likelier that brought more than the critic had expected.

    The loss is the mean over steps of

        -log pi(a) (G - V) + value_weight (G - V)^2 - entropy_weight H(pi) + simpson_weight sum_a pi(a)^2

    (Mnih et al. 2016, arXiv:1602.01783; the last term Miconi et al. 2018, arXiv:1804.02464). The gradient goes through
    the agent's memory over all steps of the rollout, and ends where it began. The value is the last number that an
    agent with `act.Valued` puts out; each episode has its own. Only a termination ends the value of the future: an
    episode that is cut short is worth the value of its final observation.

    Metrics: `return` is the mean total reward of the episodes played; of a stream, of those that ended in this rollout,
    or last, or before any has ended, of all so far. A loss or gradient that is not finite never reaches the parameters.

    Args:
        agent, task: who learns what. rng streams follow from `seed`.
        experts: how many; None: as the agent was built.
        batch: episodes at once, over all processes that share the run.
        lr: a learning rate or a `Schedule`.
        horizon: steps in an outer step, where episodes go on from one to the next; an end of a task of fixed length is
            never crossed. None: each outer step plays new episodes from their beginning to their end.
        gamma: discount of a step. lam: of `returns.lambda_returns`; 1: Monte-Carlo or n-step returns.
        auxiliary: weights of the core's auxiliary losses by name, mean over steps.
        policy: how the agent acts when it is evaluated, "sampled" or "greedy". As it was trained, if not told
            otherwise: rewards are then those that it learns from, and a policy that draws does not go in circles where
            it cannot tell two places apart.
        segment: keep the graph of so many steps at a time (`badger.segments`); None: of all.
        clip: largest norm of the gradient; None: any.
        betas, eps, weight_decay: of AdamW.
        rank: which process's episodes are drawn; None: this one's.

    Raises:
        ValueError: a task whose actions are no choices, an agent without a value, or sizes that make no sense.
    """

    def __init__(
        self,
        agent: Agent,
        task: Task | Varied,
        *,
        experts: int | None = None,
        batch: int = 64,
        lr: float | Schedule = 1e-3,
        horizon: int | None = None,
        gamma: float = 0.99,
        lam: float = 1.0,
        value_weight: float = 0.5,
        entropy_weight: float = 0.01,
        simpson_weight: float = 0.0,
        auxiliary: dict[str, float] | None = None,
        policy: str = "sampled",
        segment: int | None = None,
        clip: float | None = 1.0,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        seed: int = 0,
        rank: int | None = None,
    ):
        task = _checked(agent, task)
        sizes = {"batch": batch, "horizon": horizon, "segment": segment, "experts": experts}
        for name, size in sizes.items():
            if size is not None and size < 1:
                raise ValueError(f"{name}={size}, want at least 1")
        for name, share in {"gamma": gamma, "lam": lam}.items():
            if not 0 <= share <= 1:
                raise ValueError(f"{name}={share}, want 0 to 1")
        self.agent, self.task, self.seed = agent, task, seed
        self.experts = agent.experts if experts is None else experts
        self.rank = distributed.rank() if rank is None else rank
        self.share = distributed.share(batch)
        self.batch, self.horizon, self.segment, self.gamma, self.lam = batch, horizon, segment, gamma, lam
        self.weights = {
            "policy_loss": 1.0, "value_loss": value_weight, "entropy": -entropy_weight, "simpson": simpson_weight
        }  # fmt: skip
        self.auxiliary = dict(auxiliary or {})
        self.sampled, self.policy = Sampled(task.action), pick(POLICIES, policy, "policy")(task.action)
        self.climber = Climber(agent.parameters(), lr=lr, clip=clip, betas=betas, eps=eps, weight_decay=weight_decay)
        self.stream: Stream | None = None  # of a horizon, from the first update on
        self.step = 0

    def rng(self) -> torch.Generator:
        """Of the next outer step."""
        return generator(self.seed, "train", self.step, rank=self.rank, device=self.climber.device)

    def update(self) -> dict[str, Tensor | float]:
        """One outer step. Returns detached tensors, still on the device: nothing here waits for it."""
        lr, rng = self.climber.schedule(self.step), self.rng()
        stream = self.stream or self._opened(rng)
        frames, carry = self._played(stream.carry, rng)
        counts = frames.valid if self.horizon else frames.valid & first_episodes(frames)
        ended = (frames.terminated | frames.truncated) & counts
        sums, total = returns.totals(torch.where(counts, frames.reward, 0), ended, stream.total)
        scored = told([_counted(frames, counts)], self.task, self, OWN | MEANS | {"ended"})
        self.climber.optimiser.zero_grad()
        means = self._backward(frames, counts, self._worth(carry, rng)) | {"return": sums[-1].mean()}
        totals = {**scored, "ended": torch.stack([torch.where(ended, sums, 0).sum(), ended.sum().to(sums.dtype)])}
        metrics = self.climber.climb(lr, means, totals)
        known = metrics.pop("ended")
        known = torch.where(known.isnan(), stream.known, known)
        metrics["return"] = torch.where(known.isnan(), metrics["return"], known)
        self.stream = None if self.horizon is None else Stream(cut(carry), total, known)
        self.step += 1
        return {**metrics, "lr": lr}

    def _opened(self, rng: torch.Generator) -> Stream:
        carry = start(self.agent, self.task, self.share, rng, experts=self.experts)
        zero = torch.zeros_like(carry.step.reward)
        if zero.dim() > 1:
            raise ValueError(
                f"{type(self.task).__name__} rewards each expert, {tuple(zero.shape)}, and A2C wants one reward for "
                "the agent, (B,): let the task give their mean"
            )
        return Stream(carry, zero, torch.full_like(zero[0], torch.nan))

    def _played(self, carry: Carry, rng: torch.Generator) -> tuple[Frames, Carry]:
        """The rollout of this outer step; it ends with the episode where that is known beforehand."""
        steps = self.task.steps
        if self.horizon is not None:
            left = steps - carry.elapsed % steps if self.task.fixed_length else self.horizon
            steps = min(self.horizon, left)
        return segmented(self.agent, self.task, carry, rng, self.sampled, steps=steps, segment=self.segment or steps)

    def _worth(self, carry: Carry, rng: torch.Generator) -> Float[Tensor, " B"]:
        """The value of where the rollout has ended."""
        with torch.no_grad():
            output, _ = self.agent(carry.step.obs, carry.state, rng)
        return output[..., -1]

    def _backward(self, frames: Frames, counts: Bool[Tensor, "T B"], worth: Float[Tensor, " B"]) -> dict[str, Tensor]:
        """Leaves the gradient in the parameters; the loss and its parts, detached."""
        value = frames.output[..., -1]
        return_ = returns.lambda_returns(
            frames.reward.detach(),
            torch.cat([value.detach()[1:], worth.unsqueeze(0)]),
            frames.terminated,
            frames.truncated,
            gamma=self.gamma,
            lam=self.lam,
        )
        number = counts.sum().to(value.dtype)
        distributed.all_mean([number])  # before the backward pass: processes may differ in how many steps count
        parts = {
            name: returns.mean(part, counts, number.clamp(min=1)) for name, part in self._parts(frames, return_).items()
        }
        loss = torch.zeros_like(number)
        for name, part in parts.items():
            loss = loss + self.weights[name] * part
        for weight, penalty in penalties(frames.losses, self.auxiliary, self.agent.core):
            loss = loss + weight * returns.mean(penalty, counts, number.clamp(min=1))
        loss.backward()
        means = {name: part.detach() for name, part in {"loss": loss, **parts}.items()}
        return means | {"explained_variance": returns.explained(value.detach(), return_, counts)}

    def _parts(self, frames: Frames, return_: Float[Tensor, "T B"]) -> dict[str, Float[Tensor, "T B"]]:
        """The terms of the loss, of each step."""
        action, value = choice(self.task.action), frames.output[..., -1]
        legal = torch.stack(frames.legal) if frames.legal else None
        advantage = return_ - value.detach()
        return {
            "policy_loss": -log_probability(frames.output, frames.action, action, legal) * advantage,
            "value_loss": (return_ - value).square(),
            "entropy": entropy(frames.output, action, legal),
            "simpson": simpson(frames.output, action, legal),
        }

    def state_dict(self) -> dict[str, Any]:
        return {
            "agent": self.agent.state_dict(),
            "optimiser": self.climber.optimiser.state_dict(),
            "step": self.step,
            "stream": None if self.stream is None else _packed(self.stream),
            "rank": self.rank,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """A stream that another process has saved, or one of another batch, is not this one's: it begins anew."""
        self.agent.load_state_dict(state["agent"])
        self.climber.optimiser.load_state_dict(state["optimiser"])
        self.step, packed = state["step"], state["stream"]
        own = packed is not None and state["rank"] == self.rank and len(packed["total"]) == self.share
        self.stream = self._unpacked(packed) if own else None

    def _unpacked(self, packed: dict[str, Any]) -> Stream:
        like = self._opened(generator(self.seed, "like", device=self.climber.device)).carry
        world, step, state = states.unpack(packed["carry"], _plain(like))
        carry = Carry(world, step._replace(scores={}), state, packed["elapsed"], packed["begun"])
        return Stream(carry, packed["total"], packed["known"])


def _checked(agent: Agent, task: Task | Varied) -> Task:
    name = type(task).__name__
    if isinstance(task, Varied):
        raise ValueError(f"{name} draws another task for each outer step, and A2C learns one: give it a single task")
    try:
        choice(task.action)
    except ValueError as error:
        raise ValueError(f"{name}: {error}; A2C learns nothing else") from error
    if not isinstance(agent.act, Valued):
        raise ValueError(
            f"the agent acts by act.{type(agent.act).__name__}, which gives no value, and A2C needs one to compare "
            "rewards with: build the agent with act=act.Valued(port)"
        )
    return task


def _counted(frames: Frames, counts: Bool[Tensor, "T B"]) -> Frames:
    """What was told of other steps is not due."""

    def due(values: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: torch.where(counts, value.detach(), torch.nan) for name, value in values.items()}

    return frames._replace(scores=due(frames.scores), losses=due(frames.losses))


def _packed(stream: Stream) -> dict[str, Any]:
    carry = states.pack(_plain(stream.carry))
    where = {"elapsed": stream.carry.elapsed, "begun": stream.carry.begun}
    return {"carry": carry, **where, "total": stream.total, "known": stream.known}


def _plain(carry: Carry) -> tuple:
    """What is packed of it: all but numbers of the host, and scores, which have been told."""
    return carry.world, carry.step._replace(scores=None), carry.state  # type: ignore[arg-type]
