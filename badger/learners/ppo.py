"""Recurrent proximal policy optimisation: what was played is lived through again, several times, in pieces."""

from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from badger import distributed
from badger.agent import Agent
from badger.learners import returns, surrogate
from badger.learners.actor_critic import ActorCritic, optimizer_options
from badger.learners.schedules import LearningRate
from badger.policies.policies import entropy, log_probability
from badger.rollouts.checkpointing import concat_trajectories
from badger.rollouts.recording import Recording, concat_batch, record, replay
from badger.rollouts.trajectory import Carry, Trajectory, detach_carry
from tasks import Task, TaskDistribution


class RolloutBatch(NamedTuple):
    """Pieces of what was played, side by side: N rows of S steps, and what came of each step. log_prob: the logarithm of
    an action's probability when it was drawn. mask: somebody acted in that step."""

    recording: Recording
    action: Tensor
    action_mask: Bool[Tensor, "S N *PA"] | None
    log_prob: Float[Tensor, "S N *P"]
    value: Float[Tensor, "S N *P"]
    return_: Float[Tensor, "S N *P"]
    advantage: Float[Tensor, "S N *P"]
    mask: Bool[Tensor, "S N *P"]

    def select(self, index: Int[Tensor, " rows"]) -> "RolloutBatch":
        parts: Any = (None if part is None else part[:, index] for part in self[1:])
        return RolloutBatch(self.recording.select(index), *parts)


class PPO(ActorCritic):
    """One outer step: `batch` episodes are played `horizon` steps on from where they stood, and then lived through
    again in `epochs` x `minibatches` steps of AdamW, which make the choices likelier that brought more than the critic
    had expected, as long as they are not much likelier than they were (Schulman et al. 2017, arXiv:1707.06347):

        -min(r A, clip(r) A) + value_weight (G - V)^2 - entropy_weight H(pi),  r = pi(a) / pi_played(a)

    The advantages A are generalised ones (Schulman et al. 2016, arXiv:1506.02438), G = A + V. A minibatch is made of
    whole pieces of `sequence_length` steps, each lived through by `again` from the state that was stored where it began, so
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
        lr: a learning rate, or one for each outer step, such as a `WarmupCosine`.
        horizon: steps of each row in an outer step.
        sequence_length: steps of a piece; None: of the horizon.
        epochs: how often everything is lived through again. minibatches: in how many parts, of about as many pieces.
        gamma: discount of a step. lam: of `returns.lambda_returns`.
        reward_scale: by which rewards are multiplied before anything is learned from them, so that values, which begin
            at 0, are near 1; metrics tell rewards as they are.
        ratio_clip: how much likelier or less likely a choice may get. value_clip: the same of values, by how much they
            may move; None: any.
        normalize_advantage: advantages to mean 0 and variance 1, "minibatch" by "minibatch", over the "batch", or "never".
        target_kl: no further minibatch once approx_kl is beyond 1.5 times as much, which must be waited for; None: all.
        auxiliary: weights of the core's auxiliary losses by name, mean over steps.
        eval_policy: how the agent acts when it is evaluated, "sampled" or "greedy"; as it was trained, if not told
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
        task: Task | TaskDistribution,
        *,
        experts: int | None = None,
        batch: int = 8,
        lr: LearningRate = 1e-3,
        horizon: int = 128,
        sequence_length: int | None = None,
        epochs: int = 4,
        minibatches: int = 4,
        gamma: float = 0.99,
        lam: float = 0.95,
        reward_scale: float = 1.0,
        ratio_clip: float = 0.2,
        value_clip: float | None = None,
        value_weight: float = 0.5,
        entropy_weight: float = 0.0,
        normalize_advantage: str = "minibatch",
        target_kl: float | None = None,
        auxiliary: dict[str, float] | None = None,
        eval_policy: str = "sampled",
        clip: float | None = 0.5,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-5,
        weight_decay: float = 0.0,
        seed: int = 0,
        rank: int | None = None,
    ):
        self.horizon, self.sequence_length, self.epochs, self.minibatches = (
            horizon,
            sequence_length or horizon,
            epochs,
            minibatches,
        )
        self.gamma, self.lam, self.reward_scale, self.ratio_clip, self.value_clip = (
            gamma,
            lam,
            reward_scale,
            ratio_clip,
            value_clip,
        )
        self.normalize_advantage, self.target_kl = normalize_advantage, target_kl
        super().__init__(
            agent,
            task,
            experts=experts,
            batch=batch,
            sizes={
                "horizon": horizon,
                "sequence_length": sequence_length,
                "epochs": epochs,
                "minibatches": minibatches,
            },
            shares={"gamma": gamma, "lam": lam},
            weights={"policy_loss": 1.0, "value_loss": value_weight, "entropy": -entropy_weight},
            auxiliary=auxiliary,
            eval_policy=eval_policy,
            seed=seed,
            rank=rank,
            climbing=optimizer_options(lr=lr, clip=clip, betas=betas, eps=eps, weight_decay=weight_decay),
        )
        self._check()

    def _check(self) -> None:
        pieces = self.local_batch * -(-self.horizon // self.sequence_length)
        if self.minibatches > pieces:
            raise ValueError(
                f"minibatches={self.minibatches}, want at most {pieces}, the pieces of {self.sequence_length} steps that are "
                "played: fewer minibatches, a larger batch, or a shorter sequence"
            )
        for name in ("ratio_clip", "value_clip", "target_kl"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name}={value}, want a number above 0")
        if self.normalize_advantage not in ("minibatch", "batch", "never"):
            raise ValueError(f"normalize_advantage={self.normalize_advantage!r}, want minibatch, batch or never")

    def update(self) -> dict[str, Tensor | float]:
        """One outer step. Returns detached tensors, still on the device: only `target_kl` waits for it."""
        lr, rng = self.updater.schedule(self.step), self.rng()
        stream = self.stream or self._open_stream(rng)
        frames, lived, carry = self._collect(stream.carry, rng)
        totals, total = self._episode_metrics(frames, frames.active, stream)
        once = {"explained_variance": returns.explained_variance(lived.value, lived.return_, lived.mask)}
        told: list[dict[str, Tensor]] = []
        for index in self._minibatch_indices(lived, rng):
            means = self._backward(lived.select(index), rng)
            if self._exceeds_target_kl(means):
                break
            told.append(self.updater.step(lr, means, {}) if told else self.updater.step(lr, means | once, totals))
        metrics, known = self._finish_update(_mean_metrics(told), stream.last_return, lr, self.horizon)
        self.stream = stream.advance(carry, total, known)
        return metrics

    def _collect(self, carry: Carry, rng: torch.Generator) -> tuple[Trajectory, RolloutBatch, Carry]:
        """The rollout of this outer step, in pieces."""
        pieces, done = [], 0
        with torch.no_grad():
            while done < self.horizon:
                steps = min(self.sequence_length, self.horizon - done)
                if self.task.fixed_length:
                    steps = min(steps, self.task.steps - carry.elapsed % self.task.steps)
                frames, passage, carry = record(
                    self.agent, self.task, detach_carry(carry), rng, self.rollout_policy, steps=steps
                )
                pieces.append((frames, passage, self._bootstrap_value(carry, rng)))
                done += steps
            frames = concat_trajectories([one for one, _, _ in pieces])
            return frames, self._make_batch(frames, [one[1] for one in pieces], [one[2] for one in pieces]), carry

    def _make_batch(self, frames: Trajectory, passages: list[Recording], worths: list[Tensor]) -> RolloutBatch:
        action, lengths = self.task.action_space, [len(one.obs) for one in passages]
        legal = torch.stack(frames.action_masks) if frames.action_masks else None
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
        if self.normalize_advantage == "batch":
            advantage = returns.masked_normalize(advantage, frames.active)
        chance = log_probability(frames.output, frames.action, action, legal)
        parts = (frames.action, legal, chance, value, return_, advantage, frames.active)
        size = max(lengths)
        return RolloutBatch(
            concat_batch([one.pad_to(size) for one in passages]),
            *(None if part is None else _concat_pieces(part, lengths, size) for part in parts),  # type: ignore[arg-type]
        )

    def _minibatch_indices(self, lived: RolloutBatch, rng: torch.Generator) -> list[Tensor]:
        """The pieces of each minibatch, in an order of its own for each epoch."""
        count, device = lived.mask.shape[1], lived.mask.device
        orders = [torch.randperm(count, generator=rng, device=device) for _ in range(self.epochs)]
        return [part for order in orders for part in order.tensor_split(self.minibatches)]

    def _backward(self, lived: RolloutBatch, rng: torch.Generator) -> dict[str, Tensor]:
        """Leaves the gradient in the parameters; the loss and its parts, detached."""
        action, counts, advantage = self.task.action_space, lived.mask, lived.advantage
        self.updater.optimiser.zero_grad()
        output, losses, _ = replay(self.agent, lived.recording, rng)
        if self.normalize_advantage == "minibatch":
            advantage = returns.masked_normalize(advantage, counts)
        log_ratio = log_probability(output, lived.action, action, lived.action_mask) - lived.log_prob
        parts = {
            "policy_loss": surrogate.clipped_policy_loss(log_ratio, advantage, self.ratio_clip),
            "value_loss": surrogate.clipped_value_loss(output[..., -1], lived.value, lived.return_, self.value_clip),
            "entropy": entropy(output, action, lived.action_mask),
            "approx_kl": surrogate.approx_kl(log_ratio.detach()),
            "clip_fraction": surrogate.is_clipped(log_ratio.detach(), self.ratio_clip).to(log_ratio.dtype),
        }
        loss, means = self._loss(parts, losses, counts)
        loss.backward()
        return means

    def _exceeds_target_kl(self, means: dict[str, Tensor]) -> bool:
        """Whether the policy is further away than it should go; the same for all processes."""
        if self.target_kl is None:
            return False
        distance = means["approx_kl"].clone()
        distributed.all_reduce_mean_([distance])
        return distance.item() > 1.5 * self.target_kl


def _concat_pieces(part: Tensor, lengths: list[int], size: int) -> Tensor:
    """(T, B, ...) -> (S, pieces * B, ...); what is short is filled up with zeros."""
    pieces = part.split(lengths)
    filled = [torch.cat([one, one.new_zeros(size - len(one), *one.shape[1:])]) for one in pieces]
    return torch.cat(filled, 1)


def _mean_metrics(told: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Metrics of all minibatches: their means; what was told once; the last norm of the parameters; all finite."""
    metrics = {name: torch.stack([one[name] for one in told]) for name in told[-1] if name != "finite"}
    metrics = {name: values.mean() for name, values in metrics.items()}
    finite = torch.stack([one["finite"] for one in told]).all()
    return told[0] | metrics | {"parameter_norm": told[-1]["parameter_norm"], "finite": finite}
