"""Q-learning from what was lived through: pure functions, T first, and elementwise over all other axes.

Shapes: T step, B sequence, A action. A sequence shows T + 1 observations and holds T steps at most: `there` tells
which, and the observation after the last step of an episode is there, too, though it is no step.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


class ValueTransform(NamedTuple):
    """In what units Q is learnt: `apply` of a return, and `apply_inv`, its inverse."""

    apply: Callable[[Tensor], Tensor]
    apply_inv: Callable[[Tensor], Tensor]


def signed_hyperbolic(x: Float[Tensor, "..."], *, slope: float = 1e-3) -> Float[Tensor, "..."]:
    """sign(x) (sqrt(|x| + 1) - 1) + slope x, which makes large returns small (Pohlen et al. 2018, arXiv:1805.11593)."""
    return x.sign() * ((x.abs() + 1).sqrt() - 1) + slope * x


def signed_parabolic(y: Float[Tensor, "..."], *, slope: float = 1e-3) -> Float[Tensor, "..."]:
    """The inverse of `signed_hyperbolic` (ibid., proposition A.2)."""
    # |y| = (r - 1) + slope (r^2 - 1) with r = sqrt(|x| + 1): a quadratic equation in r; its root, without the
    # difference of two large numbers that the usual formula takes
    size = y.abs()
    rise = 2 * size / (1 + 2 * slope + (1 + 4 * slope * (1 + slope + size)).sqrt())  # r - 1
    return y.sign() * rise * (rise + 2)


IDENTITY = ValueTransform(lambda x: x, lambda y: y)
SIGNED_HYPERBOLIC = ValueTransform(signed_hyperbolic, signed_parabolic)


def greedy_value(
    q: Float[Tensor, "*B A"], selector: Float[Tensor, "*B A"], legal: Bool[Tensor, "*B A"] | None = None
) -> Float[Tensor, "*B"]:
    """q of the legal action that is best `selector` other values: double Q-learning (van Hasselt et al. 2016,
    arXiv:1509.06461); by=q: the largest q. Where nothing is legal, all is: after an end nobody asks."""
    if legal is not None:
        selector = selector.masked_fill(~(legal | ~legal.any(-1, keepdim=True)), -torch.inf)
    return q.gather(-1, selector.argmax(-1, keepdim=True)).squeeze(-1)


def select_q(q: Float[Tensor, "*B A"], action: Int[Tensor, "*B"]) -> Float[Tensor, "*B"]:
    """q of what was done."""
    return q.gather(-1, action.unsqueeze(-1)).squeeze(-1)


def n_step_returns(
    reward: Float[Tensor, "T *B"],
    value: Float[Tensor, "T1 *B"],
    terminated: Bool[Tensor, "T *B"],
    there: Bool[Tensor, "T *B"],
    *,
    gamma: float,
    n: int,
) -> Float[Tensor, "T *B"]:
    """The discounted rewards of the next n steps and the value of where they led to.

    Fewer where the episode or the sequence ends before: after a termination nothing comes, and a truncation is worth
    the value of the observation that it led to, the last that is known; so is the end of the sequence. What follows an
    end, padding or another episode, is never reached.

    value: of each observation (T + 1). there: False where there is no step; what is said of such is not to be used.
    """
    returns = value  # of 0 steps
    for _ in range(n):
        step = reward + gamma * torch.where(terminated, 0, returns[1:])
        returns = torch.cat([torch.where(there, step, value[:-1]), value[-1:]])
    return returns[:-1]


def sequence_priority(error: Float[Tensor, "T B"], counts: Bool[Tensor, "T B"], *, peak: float) -> Float[Tensor, " B"]:
    """Of a sequence: peak x the largest absolute error + (1 - peak) x their mean, over the steps that count
    (Kapturowski et al. 2019, sec. 2.3)."""
    size = torch.where(counts, error.abs(), 0)
    return peak * size.amax(0) + (1 - peak) * size.sum(0) / counts.sum(0).clamp(min=1)


def discrepancy(
    replayed: Float[Tensor, "T B A"], lived: Float[Tensor, "B A"], at: Int[Tensor, " B"]
) -> Float[Tensor, " B"]:
    """How far the Q values of a sequence, lived through again from some first state, are at step `at` from those of
    the state that was really there: |difference| / the largest |Q| of the sequence up to then (Kapturowski et al.
    2019, sec. 3.2)."""
    steps = torch.arange(len(replayed), device=at.device).unsqueeze(-1)
    largest = torch.where(steps <= at, replayed.abs().amax(-1), 0).amax(0)  # (B,)
    there = replayed[at, torch.arange(len(at), device=at.device)]
    return (there - lived).norm(dim=-1) / largest
