"""The first episodes of a rollout as recorded episodes.

Shapes: T step, B episode, P agent of the environment.
"""

import torch
from torch import Tensor

from badger.datasets.sources import Episodes
from badger.rollouts.trajectory import Trajectory, first_episode_mask, stack_steps
from tasks import Step

ACTIVE = "active"
"""The name in `Episodes.info` of the mask of agents whose action was used; the others were absent, or had ended."""


def first_episodes(trajectory: Trajectory, last: Step) -> Episodes:
    """The first episode of each row, with its last observation, on the CPU.

    An episode that goes on after the last step of the rollout is truncated there. With several agents, the reward of
    one that is absent or has ended is 0, as in an evaluation, and `info["active"]` says where each agent acted. The
    scores of the task are in `info`, too, NaN in steps without a value.

    Args:
        trajectory: a rollout from the start of episodes.
        last: its last result, `Carry.step`, which has the last observation.
    """
    first = first_episode_mask(trajectory)  # (T, B)
    length = first.sum(0)
    observed = torch.arange(len(first) + 1, device=length.device).unsqueeze(-1) <= length
    ended = trajectory.terminated | trajectory.truncated
    steps = torch.arange(len(first), device=length.device)
    cut = _like(~(ended if ended.dim() == 2 else ended.all(-1)) & (steps.unsqueeze(-1) == length - 1), ended) & ~ended
    several = trajectory.reward.dim() == 3
    used = trajectory.active if several else first
    masks = stack_steps(trajectory.action_masks)
    infos = {ACTIVE: trajectory.active} if several else {}
    return Episodes(
        _episode_first(torch.cat([trajectory.obs, last.obs.unsqueeze(0)]), observed),
        _episode_first(trajectory.action, first),
        _episode_first(torch.where(used, trajectory.reward, 0), first),
        _episode_first(trajectory.terminated, first),
        _episode_first(trajectory.truncated | cut, first),
        length.cpu(),
        None if masks is None else _episode_first(masks, first),
        {name: _episode_first(values, first) for name, values in (infos | trajectory.scores).items()},
    )


def _like(mask: Tensor, values: Tensor) -> Tensor:
    """A mask (T, B) with as many axes as the values (T, B, ...)."""
    return mask.reshape(mask.shape + (1,) * (values.dim() - 2))


def _episode_first(values: Tensor, mask: Tensor) -> Tensor:
    """(T, B, ...) -> (B, T, ...), 0 outside of the mask."""
    return torch.where(_like(mask, values), values, 0).to(values.dtype).transpose(0, 1).contiguous().detach().cpu()
