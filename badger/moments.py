"""Running mean and variance of a stream of numbers: of observations (in a sense), of discounted returns (in a learner).

Moments of a rollout are reduced over the processes of a run before they are merged, so that all processes keep equal
ones.

Shapes: ... any leading axes, T step, B episode, P agent of the environment, O numbers of a row.
"""

from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from badger import distributed


class Summary(NamedTuple):
    """Number, mean and sum of squared deviations of a set of rows.

    Args:
        num_rows: the number.
        mean: of each number; 0 of no rows.
        squares: of the deviations from the mean, summed over the rows.
    """

    num_rows: Tensor
    mean: Tensor
    squares: Tensor


def summarize(rows: Float[Tensor, "*rows O"], mask: Bool[Tensor, "*rows"]) -> Summary:
    """The summary of the rows of a mask.

    Args:
        rows: numbers.
        mask: the rows that count.
    """
    axes, mask = tuple(range(rows.dim() - 1)), mask.unsqueeze(-1)
    count = mask.sum().to(rows.dtype)
    mean = torch.where(mask, rows, 0).sum(axes) / count.clamp(min=1e-9)
    return Summary(count, mean, torch.where(mask, rows - mean, 0).square().sum(axes))


class RunningMoments(nn.Module):
    """Mean, variance and count of all rows seen so far, as buffers; mean 0 and variance 1 before the first.

    Args:
        size: O.

    Source: Chan, Golub and LeVeque 1979, the parallel algorithm.
    """

    EPSILON = 1e-8  # added to the variance, as in VecNormalize

    mean: Tensor
    var: Tensor
    count: Tensor

    def __init__(self, size: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("var", torch.ones(size))
        self.register_buffer("count", torch.zeros(()))

    @property
    def std(self) -> Float[Tensor, " O"]:
        """The standard deviation, above 0."""
        return (self.var + self.EPSILON).sqrt()

    @torch.no_grad()
    def update(self, rows: Float[Tensor, "*rows O"], mask: Bool[Tensor, "*rows"], *, copies: int = 1) -> None:
        """Merges the rows of the mask, of all processes, into the moments.

        Args:
            rows: new numbers.
            mask: the rows that count.
            copies: number of processes that have the same rows.
        """
        parts = summarize(rows.detach().to(self.mean), mask)
        self.merge(Summary(*(part.unsqueeze(0) for part in parts)), copies=copies)

    @torch.no_grad()
    def merge(self, parts: Summary, *, copies: int = 1) -> None:
        """Merges rows of which only a summary is there, of all processes, into the moments.

        Args:
            parts: summaries of several sets of rows, one after the other.
            copies: as in `update`.
        """
        counts = parts.num_rows.to(self.count).unsqueeze(-1)  # (parts, 1)
        first = [counts.sum(), (counts * parts.mean).sum(0)]
        distributed.all_reduce_mean_(first)
        local_count, total = first
        mean = total / local_count.clamp(min=1e-9)  # of no rows: 0, with a weight of 0
        second = [(parts.squares + counts * (parts.mean - mean).square()).sum(0)]
        distributed.all_reduce_mean_(second)
        processes = distributed.world_size() / copies
        new, squares = local_count * processes, second[0] * processes
        count = self.count + new
        share, delta = new / count.clamp(min=1e-9), mean - self.mean
        merged = (self.var * self.count + squares + delta.square() * self.count * share) / count.clamp(min=1e-9)
        self.mean.add_(delta * share)
        self.var.copy_(torch.where(count > 0, merged, self.var))
        self.count.copy_(count)


class RewardScaling:
    """Divides rewards by the standard deviation of the running discounted return R = gamma R + r, and clips them.

    No mean is subtracted, so that the sign of a reward stays. R is 0 at the start of an episode.

    Args:
        gamma: discount factor of a step.
        like: gives dtype and device.
        clip: largest absolute value of a scaled reward.

    Source: Engstrom et al. 2020, arXiv:2005.12729, section 3; `VecNormalize` of Stable-Baselines3.
    """

    def __init__(self, gamma: float, like: Tensor, *, clip: float = 10.0):
        self.gamma, self.clip = gamma, clip
        self.moments = RunningMoments(1).to(like)
        self.running: Tensor | None = None  # (B, *P) R of the running episodes; None: all start

    def update(
        self,
        reward: Float[Tensor, "T *B"],
        ended: Bool[Tensor, "T *B"],
        mask: Bool[Tensor, "T *B"],
        *,
        copies: int = 1,
    ) -> None:
        """Follows the running episodes through a rollout and merges their discounted returns into the moments.

        Args:
            reward: of each step.
            ended: the episode ended in this step.
            mask: the steps that are part of an episode.
            copies: number of processes that have the same rollout.
        """
        reward = torch.where(mask, reward.detach(), 0)
        running = torch.zeros_like(reward[0]) if self.running is None else self.running
        returns = []
        for step_reward, done, valid in zip(reward, ended, mask, strict=True):
            running = torch.where(valid, self.gamma * running + step_reward, running)
            returns.append(running)
            running = torch.where(done, 0, running)
        self.running = running
        self.moments.update(torch.stack(returns).unsqueeze(-1), mask, copies=copies)

    def __call__(self, reward: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
        """The scaled rewards.

        Args:
            reward: of any steps.
        """
        return (reward / self.moments.std).clamp(-self.clip, self.clip)

    def restart(self) -> None:
        """Forgets the running episodes, as new ones start; the moments stay."""
        self.running = None

    def state_dict(self) -> dict[str, Any]:
        """Moments and running returns, for a checkpoint."""
        return {"moments": self.moments.state_dict(), "running": self.running}

    def load_state_dict(self, state: dict[str, Any], *, same_episodes: bool) -> None:
        """Restores a saved state.

        Args:
            state: from `state_dict`.
            same_episodes: the running episodes continue; else new ones start.
        """
        self.moments.load_state_dict(state["moments"])
        self.running = state["running"] if same_episodes else None


def pack_scaling(scaling: RewardScaling | None) -> dict[str, Any] | None:
    """The state of a learner's reward scaling for a checkpoint; None of a learner that does not scale rewards.

    Args:
        scaling: of the learner.
    """
    return None if scaling is None else scaling.state_dict()


def unpack_scaling(scaling: RewardScaling | None, state: dict[str, Any] | None, *, same_episodes: bool) -> None:
    """Restores the reward scaling of a learner that has one.

    Args:
        scaling: of the learner.
        state: from `pack_scaling`.
        same_episodes: the running episodes continue; else new ones start.
    """
    if scaling is not None and state is not None:
        scaling.load_state_dict(state, same_episodes=same_episodes)
