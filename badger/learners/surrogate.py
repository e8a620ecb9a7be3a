"""The clipped losses of proximal policy optimisation: pure functions, elementwise (Schulman et al. 2017)."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def clipped_policy_loss(
    log_ratio: Float[Tensor, "*B"], advantage: Float[Tensor, "*B"], clip: float
) -> Float[Tensor, "*B"]:
    """-min(r A, clip(r, 1 - clip, 1 + clip) A), where r is by how much likelier an action has become: no gain is seen
    in going further away from the policy that has played (arXiv:1707.06347, eq. 7)."""
    ratio = log_ratio.exp()
    return -torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)


def clipped_value_loss(
    value: Float[Tensor, "*B"], before: Float[Tensor, "*B"], return_: Float[Tensor, "*B"], clip: float | None
) -> Float[Tensor, "*B"]:
    """(G - V)^2; or the larger of it and the same for a value that has moved by at most `clip` from what it was."""
    plain = (return_ - value).square()
    if clip is None:
        return plain
    near = before + (value - before).clamp(-clip, clip)
    return torch.maximum(plain, (return_ - near).square())


def approx_kl(log_ratio: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
    """r - 1 - log r, whose mean over what the old policy has drawn is KL(old, new), and which is never below 0."""
    return log_ratio.expm1() - log_ratio


def is_clipped(log_ratio: Float[Tensor, "*B"], clip: float) -> Bool[Tensor, "*B"]:
    """Whether the ratio is further than clip from 1."""
    return (log_ratio.expm1()).abs() > clip
