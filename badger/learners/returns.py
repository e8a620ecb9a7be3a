"""Returns, advantages and masked statistics, as pure functions: time first, elementwise over all other axes."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from badger import distributed


def lambda_returns(
    reward: Float[Tensor, "T *B"],
    value_next: Float[Tensor, "T *B"],
    terminated: Bool[Tensor, "T *B"],
    truncated: Bool[Tensor, "T *B"],
    *,
    gamma: float,
    lam: float = 1.0,
) -> Float[Tensor, "T *B"]:
    """Lambda-returns of each step: G_t = r_t + gamma ((1 - lam) V_{t+1} + lam G_{t+1}).

    The recursion starts from G = V after the last step. lam=1 gives Monte-Carlo returns where the episode terminates
    and n-step returns where the rollout ends first; lam=0 gives one-step targets. G - V are the generalized advantages
    of Schulman et al. 2016 (arXiv:1506.02438). A termination stops bootstrapping; a truncation bootstraps from
    `value_next`, whatever step follows.

    Args:
        reward: r_t.
        value_next: V_{t+1}, of the observation that the step led to; at a truncation the episode's final observation.
        terminated: the step terminated its episode.
        truncated: the step truncated its episode.
        gamma: discount factor of a step.
        lam: weight of the longer returns.
    """
    ended = terminated | truncated
    weight = torch.where(ended, 0, gamma * lam).to(reward.dtype)  # of the later return
    own = torch.where(truncated, value_next, (1 - lam) * value_next)
    own[-1] = value_next[-1]
    own = torch.where(terminated, reward, reward + gamma * own)  # what does not depend on later returns
    returns, following = [], torch.zeros_like(own[-1])
    for step_own, step_weight in zip(reversed(own.unbind()), reversed(weight.unbind()), strict=True):
        following = torch.addcmul(step_own, step_weight, following)
        returns.append(following)
    return torch.stack(returns[::-1])


def running_returns(
    reward: Float[Tensor, "T *B"], ended: Bool[Tensor, "T *B"], initial: Float[Tensor, "*B"]
) -> tuple[Float[Tensor, "T *B"], Float[Tensor, "*B"]]:
    """Undiscounted reward of each step's episode up to that step, and the sums to carry into the next rollout.

    Args:
        reward: of each step.
        ended: the episode ended in this step.
        initial: the reward of the running episodes before the first step.

    Returns:
        The running sums; and the sums after the last step, 0 where an episode has just ended.
    """
    sums, carried = [], initial
    for step_reward, done in zip(reward, ended, strict=True):
        sums.append(carried + step_reward)
        carried = torch.where(done, 0, sums[-1])
    return torch.stack(sums), carried


def ended_totals(sums: Float[Tensor, "T *B"], ended: Bool[Tensor, "T *B"], *, copies: int = 1) -> dict[str, Tensor]:
    """Sum and count (2,) of `ended_return`, the mean return of the episodes that ended, and `episodes`, their number.

    Args:
        sums: the running returns of `running_returns`.
        ended: the episode ended in this step.
        copies: number of processes that have the same episodes.
    """
    count, total = ended.sum().to(sums.dtype), torch.where(ended, sums, 0).sum()
    share = torch.full_like(count, copies / distributed.world_size())  # the number in all processes is no mean
    return {"ended_return": torch.stack([total, count]), "episodes": torch.stack([count, share])}


def masked_normalize(x: Float[Tensor, "*B"], mask: Bool[Tensor, "*B"]) -> Float[Tensor, "*B"]:
    """x shifted and scaled to mean 0 and variance 1 over the mask, in all processes of the run together.

    Args:
        x: the values.
        mask: the elements that the mean and variance are over.
    """
    count = mask.sum().to(x.dtype)
    first = [count, torch.where(mask, x, 0).sum()]
    distributed.all_reduce_mean_(first)
    centered = x - first[1] / first[0].clamp(min=1)
    second = [torch.where(mask, centered, 0).square().sum()]
    distributed.all_reduce_mean_(second)
    return centered / ((second[0] / first[0].clamp(min=1)).sqrt() + 1e-8)


def explained_variance(value: Float[Tensor, "..."], return_: Float[Tensor, "..."], mask: Bool[Tensor, "..."]) -> Tensor:
    """1 - Var(return - value) / Var(return) over the mask: 1 at best, 0 for a constant value.

    NaN where all returns are equal.

    Args:
        value: the critic's predictions.
        return_: their targets.
        mask: the elements that the variances are over.
    """
    total = _variance(return_, mask)
    return torch.where(total > 0, 1 - _variance(return_ - value, mask) / total, torch.nan)


def masked_mean(x: Float[Tensor, "..."], mask: Bool[Tensor, "..."], count: Tensor | None = None) -> Tensor:
    """The mean of x over the mask.

    Args:
        x: the values.
        mask: the elements that the mean is over.
        count: divide by this number instead of the size of the mask.
    """
    return torch.where(mask, x, 0).sum() / (mask.sum() if count is None else count)


def _variance(x: Tensor, mask: Tensor) -> Tensor:
    return masked_mean((x - masked_mean(x, mask)).square(), mask)
