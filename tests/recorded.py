"""Recorded episodes of random actions, for the tests of learners that need them."""

from functools import cache

import torch
from torch import Tensor

from badger.datasets import EpisodeDataset, Episodes
from tasks import Continuous, Discrete, Mixed, MultiDiscrete, Task


@cache
def random_episodes(task: Task, episodes: int, seed: int = 0) -> EpisodeDataset:
    """Episodes of random actions, none of them masked."""
    rng = torch.Generator().manual_seed(seed)
    state, step = task.reset(episodes, rng)
    obs, parts, running, length = [step.obs], [], torch.ones(episodes, dtype=torch.bool), torch.zeros(episodes).long()
    for _ in range(task.steps):
        action = random_action(task.action_space, step, rng)
        mask = step.action_mask
        state, step = task.step(state, action, rng)
        parts.append((action, step.reward.detach(), step.terminated, step.truncated, mask))
        obs.append(step.obs)
        length += running
        done = step.terminated | step.truncated
        running = running & ~(done if done.dim() == 1 else done.all(-1))
    *fields, masks = zip(*parts, strict=True)
    valid = torch.arange(task.steps) < length.unsqueeze(-1)

    def padded(values: list[Tensor] | tuple[Tensor, ...], mask: Tensor) -> Tensor:
        stacked = torch.stack(list(values), 1)
        return torch.where(mask.reshape(mask.shape + (1,) * (stacked.dim() - 2)), stacked, 0).to(stacked.dtype)

    observed = torch.arange(task.steps + 1) <= length.unsqueeze(-1)
    action_mask = None if masks[0] is None else padded(masks, valid)
    recorded = Episodes(padded(obs, observed), *(padded(part, valid) for part in fields), length, action_mask)
    return EpisodeDataset.from_episodes(recorded, task.action_space, type(task).__name__)


def random_action(space, step, rng) -> Tensor:
    """An action for each episode, (B,), (B, k) or, with agents, (B, P, ...); an allowed one."""
    lead = step.reward.shape
    if isinstance(space, Mixed):
        parts = [random_action(part, step, rng) for part in (space.choices, space.numbers)]
        return torch.cat([parts[0].to(parts[1]), parts[1]], -1)
    if isinstance(space, Continuous):
        return torch.randn(*lead, space.size, generator=rng, dtype=step.reward.dtype).clamp(space.low, space.high)
    drawn = torch.rand(*lead, space.size, generator=rng)
    drawn = drawn if step.action_mask is None else torch.where(step.action_mask, drawn, -1)
    if isinstance(space, Discrete):
        return drawn.argmax(-1)
    assert isinstance(space, MultiDiscrete)
    return torch.stack([part.argmax(-1) for part in drawn.split(list(space.nvec), -1)], -1)
