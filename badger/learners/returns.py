"""What came of a step, from rewards and values: pure functions, T first, and elementwise over all other axes."""

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
    """What each step was worth, from its reward on: G_t = r_t + gamma ((1 - lam) V_{t+1} + lam G_{t+1}).

    After the last step G is V. So lam=1 gives the discounted sum of the rewards that were seen, and the value of what
    was not (Monte-Carlo returns where the episode has ended; n-step returns where not); lam=0 one-step targets. G - V
    are the generalised advantages of Schulman et al. 2016 (arXiv:1506.02438). Nothing comes after a termination; what
    comes after a truncation is worth its value, whatever followed.

    value_next: of the observation that the step led to; at a truncation the final one of its episode.
    """
    returns, after = [], value_next[-1]
    for t in range(len(reward) - 1, -1, -1):
        mixed = torch.where(truncated[t], value_next[t], (1 - lam) * value_next[t] + lam * after)
        after = torch.where(terminated[t], reward[t], reward[t] + gamma * mixed)
        returns.append(after)
    return torch.stack(returns[::-1])


def running_returns(
    reward: Float[Tensor, "T *B"], ended: Bool[Tensor, "T *B"], before: Float[Tensor, "*B"]
) -> tuple[Float[Tensor, "T *B"], Float[Tensor, "*B"]]:
    """The reward of each step's episode up to that step, where so much came `before`; and what goes on into the next
    step: 0 where an episode has just ended."""
    sums = []
    for now, over in zip(reward, ended, strict=True):
        sums.append(before + now)
        before = torch.where(over, 0, sums[-1])
    return torch.stack(sums), before


def masked_normalize(x: Float[Tensor, "*B"], counts: Bool[Tensor, "*B"]) -> Float[Tensor, "*B"]:
    """To mean 0 and variance 1 over what counts; where processes share a run, over all of theirs."""
    number = counts.sum().to(x.dtype)
    first = [number, torch.where(counts, x, 0).sum()]
    distributed.all_reduce_mean_(first)
    centred = x - first[1] / first[0].clamp(min=1)
    second = [torch.where(counts, centred, 0).square().sum()]
    distributed.all_reduce_mean_(second)
    return centred / ((second[0] / first[0].clamp(min=1)).sqrt() + 1e-8)


def explained_variance(
    value: Float[Tensor, "..."], return_: Float[Tensor, "..."], counts: Bool[Tensor, "..."]
) -> Tensor:
    """The share of the returns' variance that the values explain, where a step counts: 1 at best, 0 for a constant.

    NaN where the returns are all the same.
    """
    whole = _variance(return_, counts)
    return torch.where(whole > 0, 1 - _variance(return_ - value, counts) / whole, torch.nan)


def masked_mean(x: Float[Tensor, "..."], counts: Bool[Tensor, "..."], of: Tensor | None = None) -> Tensor:
    """Over the steps that count; `of`: how many they are said to be."""
    return torch.where(counts, x, 0).sum() / (counts.sum() if of is None else of)


def _variance(x: Tensor, counts: Tensor) -> Tensor:
    return masked_mean((x - masked_mean(x, counts)).square(), counts)
