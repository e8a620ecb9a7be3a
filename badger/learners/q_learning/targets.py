"""Targets, priorities and value transforms of recurrent Q-learning, as pure functions, time first.

Shapes: T step, B sequence, A action. A sequence has T + 1 observations and at most T steps. The mask `valid` is False
for padding and for the final observation of an episode, which has a value but no action.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


class ValueTransform(NamedTuple):
    """An invertible rescaling of returns; Q values are learned in the transformed units.

    Args:
        apply: return -> transformed value.
        apply_inv: its inverse.
    """

    apply: Callable[[Tensor], Tensor]
    apply_inv: Callable[[Tensor], Tensor]


def signed_hyperbolic(x: Float[Tensor, "..."], *, slope: float = 1e-3) -> Float[Tensor, "..."]:
    """The value rescaling h(x) = sign(x) (sqrt(|x| + 1) - 1) + slope x, which compresses large returns.

    Args:
        x: returns.
        slope: weight of the linear term, which keeps h invertible.

    Source: Pohlen et al. 2018, arXiv:1805.11593.
    """
    return x.sign() * ((x.abs() + 1).sqrt() - 1) + slope * x


def signed_parabolic(y: Float[Tensor, "..."], *, slope: float = 1e-3) -> Float[Tensor, "..."]:
    """The inverse of `signed_hyperbolic`.

    Args:
        y: rescaled values.
        slope: that of `signed_hyperbolic`.

    Source: Pohlen et al. 2018, arXiv:1805.11593, proposition A.2.
    """
    # |y| = (r - 1) + slope (r^2 - 1) with r = sqrt(|x| + 1): a quadratic equation in r; its root, without the
    # difference of two large numbers in the usual formula
    size = y.abs()
    rise = 2 * size / (1 + 2 * slope + (1 + 4 * slope * (1 + slope + size)).sqrt())  # r - 1
    return y.sign() * rise * (rise + 2)


ErrorLoss = Callable[[Tensor], Tensor]
"""A loss of TD errors, element by element."""


def squared_error(error: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """error^2.

    Args:
        error: TD errors.
    """
    return error.square()


def huber(error: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """The Huber loss: error^2 / 2 up to an error of 1, |error| - 1/2 beyond, so that its gradient is clipped to -1, 1.

    Args:
        error: TD errors.

    Source: Mnih et al. 2015 (Nature 518, 529), Methods.
    """
    size = error.abs()
    clipped = size.clamp(max=1)
    return clipped * (size - clipped / 2)


IDENTITY = ValueTransform(lambda x: x, lambda y: y)
"""No rescaling."""
SIGNED_HYPERBOLIC = ValueTransform(signed_hyperbolic, signed_parabolic)
"""The rescaling of R2D2."""


def greedy_value(
    q: Float[Tensor, "*B A"], selector: Float[Tensor, "*B A"], action_mask: Bool[Tensor, "*B A"] | None = None
) -> Float[Tensor, "*B"]:
    """The value in q of the action that maximizes `selector`: double Q-learning; with selector=q the largest value.

    Args:
        q: values of the target network.
        selector: values that choose the action.
        action_mask: allowed actions; None: all. A row without any allows all: it follows the end of an episode.

    Source: van Hasselt et al. 2016, arXiv:1509.06461.
    """
    if action_mask is not None:
        selector = selector.masked_fill(~(action_mask | ~action_mask.any(-1, keepdim=True)), -torch.inf)
    return q.gather(-1, selector.argmax(-1, keepdim=True)).squeeze(-1)


def select_q(q: Float[Tensor, "*B A"], action: Int[Tensor, "*B"]) -> Float[Tensor, "*B"]:
    """The value of the action taken.

    Args:
        q: values of all actions.
        action: the action taken.
    """
    return q.gather(-1, action.unsqueeze(-1)).squeeze(-1)


def n_step_returns(
    reward: Float[Tensor, "T *B"],
    value: Float[Tensor, "T1 *B"],
    terminated: Bool[Tensor, "T *B"],
    valid: Bool[Tensor, "T *B"],
    *,
    gamma: float,
    n: int,
) -> Float[Tensor, "T *B"]:
    """The discounted rewards of n steps and the bootstrap value after them.

    Fewer than n steps where the episode or the sequence ends before. A termination stops bootstrapping; a truncation
    bootstraps from the final observation, and the end of the sequence from its last observation. Padding and later
    episodes have no effect.

    Args:
        reward: of each step.
        value: of each of the T + 1 observations.
        terminated: the step terminated its episode.
        valid: the step is one; returns of other steps are undefined.
        gamma: discount factor of a step.
        n: number of steps.
    """
    returns = value  # 0-step returns
    for _ in range(min(n, len(reward))):  # longer returns end with the sequence
        step = reward + gamma * torch.where(terminated, 0, returns[1:])
        returns = torch.cat([torch.where(valid, step, value[:-1]), value[-1:]])
    return returns[:-1]


def sequence_priority(error: Float[Tensor, "T B"], mask: Bool[Tensor, "T B"], *, eta: float) -> Float[Tensor, " B"]:
    """The replay priority of each sequence: eta max |error| + (1 - eta) mean |error| over the mask.

    Args:
        error: TD errors.
        mask: the steps that are trained on.
        eta: weight of the maximum.

    Source: Kapturowski et al. 2019 (R2D2), section 2.3.
    """
    size = torch.where(mask, error.abs(), 0)
    return eta * size.amax(0) + (1 - eta) * size.sum(0) / mask.sum(0).clamp(min=1)


def discrepancy(
    replayed: Float[Tensor, "T B A"], reference: Float[Tensor, "T B A"], mask: Bool[Tensor, "T B"]
) -> Float[Tensor, "T B"]:
    """The Q-value discrepancy of stale recurrent states at each step: |difference| / largest |Q| of the sequence.

    Args:
        replayed: Q values of a sequence, replayed from its initial state.
        reference: Q values of the same network from the recurrent state that it has after the whole episode so far.
        mask: the steps of the sequence.

    Source: Kapturowski et al. 2019 (R2D2), section 3. A state that was stored in the rollout is no reference: it is as
    stale as the stored state from which the sequence starts, and a burn-in, which renews it, would count as an error.
    """
    largest = torch.where(mask, replayed.abs().amax(-1), 0).amax(0)  # (B,)
    return (replayed - reference).norm(dim=-1) / largest
