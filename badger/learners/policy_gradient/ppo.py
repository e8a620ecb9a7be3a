"""Recurrent proximal policy optimization (PPO): several epochs on replayed sequences of each rollout."""

from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from badger import distributed
from badger.agent import Agent
from badger.learners import host, returns
from badger.learners.policy_gradient import surrogate
from badger.learners.policy_gradient.actor_critic import ActorCritic
from badger.learners.schedules import LearningRate
from badger.learners.update import check_sizes
from badger.policies.policies import entropy
from badger.rollouts.checkpointing import concat_trajectories
from badger.rollouts.recording import Recording, concat_batch, record, replay
from badger.rollouts.trajectory import Carry, Trajectory, detach_carry, stack_steps
from tasks import Task, TaskDistribution


class RolloutBatch(NamedTuple):
    """Sequences of a rollout side by side, N rows of S steps, with the targets of each step.

    Args:
        recording: observations and agent states, to replay the sequences.
        action: the actions of the rollout.
        action_mask: allowed actions; None: all.
        policy_state: the state of the rollout policy before each action; None if it has none.
        log_prob: log-probability of the action under the policy of the rollout.
        value: the critic's value during the rollout.
        return_: lambda-returns, the targets of the value.
        advantage: return minus value, normalized where that is done over the batch.
        mask: the valid steps (see `ActorCritic`); False for padding, too.
    """

    recording: Recording
    action: Tensor
    action_mask: Bool[Tensor, "S N *PA"] | None
    policy_state: Float[Tensor, "S N *PD"] | None
    log_prob: Float[Tensor, "S N *P"]
    value: Float[Tensor, "S N *P"]
    return_: Float[Tensor, "S N *P"]
    advantage: Float[Tensor, "S N *P"]
    mask: Bool[Tensor, "S N *P"]

    def select(self, index: Int[Tensor, " rows"]) -> "RolloutBatch":
        """The batch of some rows.

        Args:
            index: row numbers.
        """
        parts: Any = (None if part is None else part[:, index] for part in self[1:])
        return RolloutBatch(self.recording.select(index), *parts)


class PPO(ActorCritic):
    """Recurrent PPO: `epochs` x `minibatches` gradient steps on `horizon` steps of running episodes.

    The loss is the mean over the valid steps (see `ActorCritic`) of a minibatch of

        -min(r A, clip(r) A) + value_weight (G - V)^2 - entropy_weight H(pi),  r = pi(a) / pi_old(a)

    with generalized advantages A and targets G = A + V. The rollout is cut into sequences of `sequence_length` steps,
    and a minibatch is a set of whole sequences. Each is replayed from the agent state that was recorded at its start,
    so the gradient goes through the agent's memory over all steps of the sequence and stops at its start. Episodes may
    end and start within a sequence, but a sequence of a task of fixed length stops at the end of the episode.

    Metrics: those of `ActorCritic`, means over the minibatches; `clip_fraction`, the fraction of steps whose ratio r
    is out of the clip range; `approx_kl`, an estimate of KL(pi_old, pi).

    Args:
        horizon: environment steps of each row in an outer step.
        sequence_length: steps of a replayed sequence; None: the horizon.
        epochs: passes over the rollout in an outer step.
        minibatches: gradient steps in an epoch, each on about the same number of sequences; fewer, one for each
            sequence, where a rollout of this process has fewer sequences.
        ratio_clip: clip range of r around 1.
        value_clip: clip range of V around its value in the rollout; None: no clipping.
        normalize_advantage: scale A to mean 0 and variance 1 over each "minibatch", over the "batch", or "never".
        target_kl: skip the remaining minibatches once `approx_kl` exceeds 1.5 times this number; the check
            synchronizes with the device. The first minibatch is never skipped: a bus that draws anew in each replay
            (`comms.Noisy`) changes log-probabilities before the weights do. None: never.

    Source: Schulman et al. 2017, arXiv:1707.06347; advantages: Schulman et al. 2016, arXiv:1506.02438.
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
        normalize_reward: bool = False,
        ratio_clip: float = 0.2,
        value_clip: float | None = None,
        value_weight: float = 0.5,
        entropy_weight: float = 0.0,
        entropy_schedule: str = "constant",
        normalize_advantage: str = "minibatch",
        target_kl: float | None = None,
        auxiliary: dict[str, float] | None = None,
        noise_correlation: float = 0.0,
        eval_policy: str = "sampled",
        clip: float | None = 0.5,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-5,
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
        sizes = {"horizon": horizon, "sequence_length": sequence_length, "epochs": epochs, "minibatches": minibatches}
        check_sizes(sizes, {})
        self.horizon, self.sequence_length = horizon, sequence_length or horizon
        num_sequences = self.local_batch * -(-horizon // self.sequence_length)
        self.epochs, self.minibatches = epochs, min(minibatches, num_sequences)
        self.ratio_clip, self.value_clip = ratio_clip, value_clip
        self.normalize_advantage, self.target_kl = normalize_advantage, target_kl
        self._check_options()

    def _check_options(self) -> None:
        for name in ("ratio_clip", "value_clip", "target_kl"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name}={value}, want a number above 0")
        if self.normalize_advantage not in ("minibatch", "batch", "never"):
            raise ValueError(f"normalize_advantage={self.normalize_advantage!r}, want minibatch, batch or never")

    def update(self) -> dict[str, Tensor | float]:
        """One outer step; returns detached metrics, on the device; only `target_kl` synchronizes."""
        lr, rng = self.updater.schedule(self.step), self.rng()
        stream = self.stream or self._open_stream(rng)
        trajectory, batch, carry = self._collect(stream.carry, rng)
        totals, episode_reward = self._episode_metrics(trajectory, trajectory.active, stream)
        explained = {"explained_variance": returns.explained_variance(batch.value, batch.return_, batch.mask)}
        steps: list[dict[str, Tensor]] = []
        for index in self._minibatch_indices(batch, rng):
            means = self._backward(batch.select(index), rng)
            if steps and self._exceeds_target_kl(means):
                break
            once, once_totals = ({}, {}) if steps else (explained, totals)
            steps.append(self.updater.inner_step(lr, means | once, once_totals))
        means = _mean_metrics(steps) | {"parameter_norm": self.updater.parameter_norm()}
        metrics = self._finish_update(means, lr, self.horizon)
        self._update_obs_moments(trajectory)  # not before: replayed outputs are as played
        self.stream = stream.advance(carry, episode_reward)
        return metrics

    def _collect(self, carry: Carry, rng: torch.Generator) -> tuple[Trajectory, RolloutBatch, Carry]:
        """The rollout of this outer step, recorded in sequences."""
        sequences, done = [], 0
        with torch.no_grad():
            while done < self.horizon:
                steps = min(self.sequence_length, self.horizon - done)
                if self.task.fixed_length:
                    steps = min(steps, self.task.steps - carry.elapsed % self.task.steps)
                trajectory, recording, carry = record(
                    self.acting_agent(), self.task, detach_carry(carry), rng, self.rollout_policy, steps=steps
                )
                sequences.append((trajectory, recording, self._bootstrap_value(carry, rng)))
                done += steps
            trajectories, recordings, bootstrap_values = zip(*sequences, strict=True)
            trajectory = concat_trajectories(trajectories)
            return trajectory, self._make_batch(trajectory, recordings, bootstrap_values), carry

    def _make_batch(
        self, trajectory: Trajectory, recordings: tuple[Recording, ...], bootstrap_values: tuple[Tensor, ...]
    ) -> RolloutBatch:
        """Returns and advantages of the rollout, and its sequences side by side."""
        lengths = [len(recording.obs) for recording in recordings]
        action_mask, policy_state = stack_steps(trajectory.action_masks), stack_steps(trajectory.policy_states)
        value = trajectory.output[..., -1]
        pairs = zip(value.split(lengths), bootstrap_values, strict=True)
        return_ = returns.lambda_returns(
            self._scaled_reward(trajectory, trajectory.active),
            torch.cat([torch.cat([part[1:], last.unsqueeze(0)]) for part, last in pairs]),
            trajectory.terminated,
            trajectory.truncated,
            gamma=self.gamma,
            lam=self.lam,
        )
        advantage = return_ - value
        if self.normalize_advantage == "batch":
            advantage = returns.masked_normalize(advantage, trajectory.active)
        log_prob = self._log_probability(trajectory.output, trajectory.action, action_mask, policy_state)
        parts = (trajectory.action, action_mask, policy_state, log_prob, value, return_, advantage, trajectory.active)
        size = max(lengths)
        return RolloutBatch(
            concat_batch([recording.pad_to(size) for recording in recordings]),
            *(None if part is None else _concat_pieces(part, lengths, size) for part in parts),  # type: ignore[arg-type]
        )

    def _minibatch_indices(self, batch: RolloutBatch, rng: torch.Generator) -> list[Tensor]:
        """The sequences of each minibatch, in a new random order in each epoch."""
        count, device = batch.mask.shape[1], batch.mask.device
        orders = [torch.randperm(count, generator=rng, device=device) for _ in range(self.epochs)]
        return [part for order in orders for part in order.tensor_split(self.minibatches)]

    def _backward(self, batch: RolloutBatch, rng: torch.Generator) -> dict[str, Tensor]:
        """Leaves the gradient of a minibatch in the parameters; returns the loss and its terms, detached."""
        space, mask, advantage = self.task.action_space, batch.mask, batch.advantage
        self.updater.optimizer.zero_grad()
        output, losses, _ = replay(self.acting_agent(), batch.recording, rng)
        if self.normalize_advantage == "minibatch":
            advantage = returns.masked_normalize(advantage, mask)
        log_prob = self._log_probability(output, batch.action, batch.action_mask, batch.policy_state)
        log_ratio = log_prob - batch.log_prob
        terms = {
            "policy_loss": surrogate.clipped_policy_loss(log_ratio, advantage, self.ratio_clip),
            "value_loss": surrogate.clipped_value_loss(output[..., -1], batch.value, batch.return_, self.value_clip),
            "entropy": entropy(output, space, batch.action_mask),
            "approx_kl": surrogate.approx_kl(log_ratio.detach()),
            "clip_fraction": surrogate.is_clipped(log_ratio.detach(), self.ratio_clip).to(log_ratio.dtype),
        }
        loss, means = self._loss(terms, losses, mask)
        loss.backward()
        return means

    def _exceeds_target_kl(self, means: dict[str, Tensor]) -> bool:
        """Whether approx_kl, averaged over processes, is above its limit; the same in all processes."""
        if self.target_kl is None:
            return False
        kl = means["approx_kl"].clone()
        distributed.all_reduce_mean_([kl])
        return float(host.to_host(kl)) > 1.5 * self.target_kl


def _concat_pieces(part: Tensor, lengths: list[int], size: int) -> Tensor:
    """(T, B, ...) -> (S, pieces * B, ...), shorter pieces padded with zeros."""
    pieces = part.split(lengths)
    padded = [torch.cat([piece, piece.new_zeros(size - len(piece), *piece.shape[1:])]) for piece in pieces]
    return torch.cat(padded, 1)


def _mean_metrics(steps: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Means over gradient steps; metrics of the first step alone; whether all are finite."""
    metrics = {name: torch.stack([step[name] for step in steps]) for name in steps[-1] if name != "finite"}
    means = {name: values.mean() for name, values in metrics.items()}
    finite = torch.stack([step["finite"] for step in steps]).all()
    return steps[0] | means | {"finite": finite}
