"""Recurrent proximal policy optimisation: what was played is lived through again, several times, in pieces."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from badger import distributed
from badger.agent import Agent
from badger.learners import returns, surrogate
from badger.learners.actor_critic import ByReward, climbing
from badger.learners.schedules import LearningRate
from badger.policies.policies import entropy, log_probability
from badger.rollouts.checkpointing import joined
from badger.rollouts.recording import Passage, again, beside, live
from badger.rollouts.trajectory import Carry, Frames, cut
from tasks import Task, Varied


class Lived(NamedTuple):
    """Pieces of what was played, side by side: N rows of S steps, and what came of each step. chance: the logarithm of
    an action's probability when it was drawn. counts: somebody acted in that step."""

    passage: Passage
    action: Tensor
    legal: Bool[Tensor, "S N *PA"] | None
    chance: Float[Tensor, "S N *P"]
    value: Float[Tensor, "S N *P"]
    return_: Float[Tensor, "S N *P"]
    advantage: Float[Tensor, "S N *P"]
    counts: Bool[Tensor, "S N *P"]

    def rows(self, index: Int[Tensor, " rows"]) -> "Lived":
        return Lived(self.passage.rows(index), *(None if part is None else part[:, index] for part in self[1:]))  # type: ignore[arg-type]


class PPO(ByReward):
    """One outer step: `batch` episodes are played `horizon` steps on from where they stood, and then lived through
    again in `epochs` x `minibatches` steps of AdamW, which make the choices likelier that brought more than the critic
    had expected, as long as they are not much likelier than they were (Schulman et al. 2017, arXiv:1707.06347):

        -min(r A, clip(r) A) + value_weight (G - V)^2 - entropy_weight H(pi),  r = pi(a) / pi_played(a)

    The advantages A are generalised ones (Schulman et al. 2016, arXiv:1506.02438), G = A + V. A minibatch is made of
    whole pieces of `sequence` steps, each lived through by `again` from the state that was stored where it began, so
    that the gradient goes through the agent's memory over all steps of a piece, and ends where it began. Episodes may
    end and begin within a piece. Of a task of fixed length a piece never crosses the end. In a world of several
    agents each has actions, advantages and a value of its own, and those count who act.

    Metrics: those of A2C, means over the minibatches; and `clip_fraction`, how many actions were beyond the clip,
    `approx_kl`, how far the policy went from the one that has played. `env_steps`: steps of the world so far, over all
    rows, with those that only open an episode. A loss or gradient that is not finite never reaches the parameters.

    Args:
        agent, task: who learns what. rng streams follow from `seed`.
        experts: how many; None: as the agent was built.
        batch: episodes at once, over all processes that share the run.
        lr: a learning rate, or one for each outer step, such as a `Schedule`.
        horizon: steps of each row in an outer step.
        sequence: steps of a piece; None: of the horizon.
        epochs: how often everything is lived through again. minibatches: in how many parts, of about as many pieces.
        gamma: discount of a step. lam: of `returns.lambda_returns`.
        reward_scale: by which rewards are multiplied before anything is learned from them, so that values, which begin
            at 0, are near 1; metrics tell rewards as they are.
        ratio_clip: how much likelier or less likely a choice may get. value_clip: the same of values, by how much they
            may move; None: any.
        normalise: advantages to mean 0 and variance 1, "minibatch" by "minibatch", over the "batch", or "never".
        target_kl: no further minibatch once approx_kl is beyond 1.5 times as much, which must be waited for; None: all.
        auxiliary: weights of the core's auxiliary losses by name, mean over steps.
        policy: how the agent acts when it is evaluated, "sampled" or "greedy"; as it was trained, if not told
            otherwise.
        clip: largest norm of the gradient; None: any.
        betas, eps, weight_decay: of AdamW.
        rank: which process's episodes are drawn; None: this one's.

    Raises:
        ValueError: a distribution of tasks, an agent without a value, or sizes that make no sense.
    """

    def __init__(
        self,
        agent: Agent,
        task: Task | Varied,
        *,
        experts: int | None = None,
        batch: int = 8,
        lr: LearningRate = 1e-3,
        horizon: int = 128,
        sequence: int | None = None,
        epochs: int = 4,
        minibatches: int = 4,
        gamma: float = 0.99,
        lam: float = 0.95,
        reward_scale: float = 1.0,
        ratio_clip: float = 0.2,
        value_clip: float | None = None,
        value_weight: float = 0.5,
        entropy_weight: float = 0.0,
        normalise: str = "minibatch",
        target_kl: float | None = None,
        auxiliary: dict[str, float] | None = None,
        policy: str = "sampled",
        clip: float | None = 0.5,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-5,
        weight_decay: float = 0.0,
        seed: int = 0,
        rank: int | None = None,
    ):
        self.horizon, self.sequence, self.epochs, self.minibatches = horizon, sequence or horizon, epochs, minibatches
        self.gamma, self.lam, self.reward_scale, self.ratio_clip, self.value_clip = (
            gamma,
            lam,
            reward_scale,
            ratio_clip,
            value_clip,
        )
        self.normalise, self.target_kl = normalise, target_kl
        super().__init__(
            agent,
            task,
            experts=experts,
            batch=batch,
            sizes={"horizon": horizon, "sequence": sequence, "epochs": epochs, "minibatches": minibatches},
            shares={"gamma": gamma, "lam": lam},
            weights={"policy_loss": 1.0, "value_loss": value_weight, "entropy": -entropy_weight},
            auxiliary=auxiliary,
            policy=policy,
            seed=seed,
            rank=rank,
            climbing=climbing(lr=lr, clip=clip, betas=betas, eps=eps, weight_decay=weight_decay),
        )
        self._check()

    def _check(self) -> None:
        pieces = self.share * -(-self.horizon // self.sequence)
        if self.minibatches > pieces:
            raise ValueError(
                f"minibatches={self.minibatches}, want at most {pieces}, the pieces of {self.sequence} steps that are "
                "played: fewer minibatches, a larger batch, or a shorter sequence"
            )
        for name in ("ratio_clip", "value_clip", "target_kl"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name}={value}, want a number above 0")
        if self.normalise not in ("minibatch", "batch", "never"):
            raise ValueError(f"normalise={self.normalise!r}, want minibatch, batch or never")

    def update(self) -> dict[str, Tensor | float]:
        """One outer step. Returns detached tensors, still on the device: only `target_kl` waits for it."""
        lr, rng = self.climber.schedule(self.step), self.rng()
        stream = self.stream or self._opened(rng)
        frames, lived, carry = self._played(stream.carry, rng)
        totals, total = self._told(frames, frames.acted, stream)
        once = {"explained_variance": returns.explained(lived.value, lived.return_, lived.counts)}
        told: list[dict[str, Tensor]] = []
        for index in self._orders(lived, rng):
            means = self._backward(lived.rows(index), rng)
            if self._far(means):
                break
            told.append(self.climber.climb(lr, means, {}) if told else self.climber.climb(lr, means | once, totals))
        metrics, known = self._finished(_averaged(told), stream.known, lr, self.horizon)
        self.stream = stream.on(carry, total, known)
        return metrics

    def _played(self, carry: Carry, rng: torch.Generator) -> tuple[Frames, Lived, Carry]:
        """The rollout of this outer step, in pieces."""
        pieces, done = [], 0
        with torch.no_grad():
            while done < self.horizon:
                steps = min(self.sequence, self.horizon - done)
                if self.task.fixed_length:
                    steps = min(steps, self.task.steps - carry.elapsed % self.task.steps)
                frames, passage, carry = live(self.agent, self.task, cut(carry), rng, self.sampled, steps=steps)
                pieces.append((frames, passage, self._worth(carry, rng)))
                done += steps
            frames = joined([one for one, _, _ in pieces])
            return frames, self._lived(frames, [one[1] for one in pieces], [one[2] for one in pieces]), carry

    def _lived(self, frames: Frames, passages: list[Passage], worths: list[Tensor]) -> Lived:
        action, lengths = self.task.action, [len(one.obs) for one in passages]
        legal = torch.stack(frames.legal) if frames.legal else None
        value = frames.output[..., -1]
        after = [
            torch.cat([part[1:], worth.unsqueeze(0)]) for part, worth in zip(value.split(lengths), worths, strict=True)
        ]
        return_ = returns.lambda_returns(
            frames.reward * self.reward_scale,
            torch.cat(after),
            frames.terminated,
            frames.truncated,
            gamma=self.gamma,
            lam=self.lam,
        )
        advantage = return_ - value
        if self.normalise == "batch":
            advantage = returns.normalised(advantage, frames.acted)
        chance = log_probability(frames.output, frames.action, action, legal)
        parts = (frames.action, legal, chance, value, return_, advantage, frames.acted)
        size = max(lengths)
        return Lived(
            beside([one.padded(size) for one in passages]),
            *(None if part is None else _beside(part, lengths, size) for part in parts),  # type: ignore[arg-type]
        )

    def _orders(self, lived: Lived, rng: torch.Generator) -> list[Tensor]:
        """The pieces of each minibatch, in an order of its own for each epoch."""
        count, device = lived.counts.shape[1], lived.counts.device
        orders = [torch.randperm(count, generator=rng, device=device) for _ in range(self.epochs)]
        return [part for order in orders for part in order.tensor_split(self.minibatches)]

    def _backward(self, lived: Lived, rng: torch.Generator) -> dict[str, Tensor]:
        """Leaves the gradient in the parameters; the loss and its parts, detached."""
        action, counts, advantage = self.task.action, lived.counts, lived.advantage
        self.climber.optimiser.zero_grad()
        output, losses, _ = again(self.agent, lived.passage, rng)
        if self.normalise == "minibatch":
            advantage = returns.normalised(advantage, counts)
        far = log_probability(output, lived.action, action, lived.legal) - lived.chance
        parts = {
            "policy_loss": surrogate.clipped(far, advantage, self.ratio_clip),
            "value_loss": surrogate.clipped_value(output[..., -1], lived.value, lived.return_, self.value_clip),
            "entropy": entropy(output, action, lived.legal),
            "approx_kl": surrogate.divergence(far.detach()),
            "clip_fraction": surrogate.is_clipped(far.detach(), self.ratio_clip).to(far.dtype),
        }
        loss, means = self._loss(parts, losses, counts)
        loss.backward()
        return means

    def _far(self, means: dict[str, Tensor]) -> bool:
        """Whether the policy is further away than it should go; the same for all processes."""
        if self.target_kl is None:
            return False
        distance = means["approx_kl"].clone()
        distributed.all_mean([distance])
        return distance.item() > 1.5 * self.target_kl


def _beside(part: Tensor, lengths: list[int], size: int) -> Tensor:
    """(T, B, ...) -> (S, pieces * B, ...); what is short is filled up with zeros."""
    pieces = part.split(lengths)
    filled = [torch.cat([one, one.new_zeros(size - len(one), *one.shape[1:])]) for one in pieces]
    return torch.cat(filled, 1)


def _averaged(told: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Metrics of all minibatches: their means; what was told once; the last norm of the parameters; all finite."""
    metrics = {name: torch.stack([one[name] for one in told]) for name in told[-1] if name != "finite"}
    metrics = {name: values.mean() for name, values in metrics.items()}
    finite = torch.stack([one["finite"] for one in told]).all()
    return told[0] | metrics | {"parameter_norm": told[-1]["parameter_norm"], "finite": finite}
