"""Statistics of recorded episodes, computed slice by slice.

Shapes: N episode, P agent of the environment.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from badger.datasets.checks import slices
from badger.datasets.episodes import EpisodeDataset
from badger.datasets.from_rollout import ACTIVE
from tasks import Continuous, Discrete, Mixed

QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Of returns and lengths: minimum, quartiles and maximum."""


class EpisodeStatistics(NamedTuple):
    """Statistics of a data set.

    Args:
        length: the number of steps of each episode.
        returns: the return of each episode, the mean over its agents.
        terminated: the number of episodes that ended by termination of all agents; the others were truncated.
        choices: of each choice of an action, how often each option was taken.
        numbers: of each real number of an action, minimum, mean, standard deviation and maximum.
    """

    length: Int[Tensor, " N"]
    returns: Float[Tensor, " N"]
    terminated: int
    choices: list[Int[Tensor, " _"]]
    numbers: Float[Tensor, "numbers 4"]


def episode_statistics(data: EpisodeDataset) -> EpisodeStatistics:
    """Statistics of a data set that passes its checks. With several agents, actions of absent ones do not count.

    Args:
        data: the data set.
    """
    space = data.action_space
    spaces = (space.choices, space.numbers) if isinstance(space, Mixed) else (space, space)
    nvec = () if isinstance(space, Continuous) else _options(spaces[0])
    size = spaces[1].size if isinstance(spaces[1], Continuous) else 0
    counts = [torch.zeros(n, dtype=torch.long) for n in nvec]
    low, high = torch.full((size,), torch.inf).double(), torch.full((size,), -torch.inf).double()
    total, squares, rows, terminated = torch.zeros(size).double(), torch.zeros(size).double(), 0, 0
    for rows_read, start, steps in slices(data.length):
        episodes = data.windows(rows_read, start, steps)
        valid = episodes.valid
        ends = (torch.arange(steps) == (data.length[rows_read] - start - 1).unsqueeze(-1)) & valid
        truncated = episodes.truncated.flatten(2).any(-1) if episodes.truncated.dim() > 2 else episodes.truncated
        terminated += int((ends & ~truncated).sum())
        used = valid.reshape(*valid.shape, *(1,) * (episodes.reward.dim() - 2)).expand(episodes.reward.shape)
        used = used & episodes.info[ACTIVE] if data.agents is not None and ACTIVE in episodes.info else used
        action = episodes.action[used]
        action = action.unsqueeze(-1) if isinstance(space, Discrete) else action  # (rows, choices + numbers)
        for i, count in enumerate(counts):
            count += action[:, i].long().bincount(minlength=len(count))
        if size and len(action):
            numbers = action[:, len(nvec) :].double()
            low, high = torch.minimum(low, numbers.amin(0)), torch.maximum(high, numbers.amax(0))
            total, squares, rows = total + numbers.sum(0), squares + numbers.square().sum(0), rows + len(numbers)
    mean = total / max(rows, 1)
    deviation = (squares / max(rows, 1) - mean.square()).clamp(min=0).sqrt()
    returns = data.returns.double()
    returns = returns if data.agents is None else returns.mean(-1)
    return EpisodeStatistics(data.length, returns, terminated, counts, torch.stack([low, mean, deviation, high], -1))


def _options(space: object) -> tuple[int, ...]:
    return (space.n,) if isinstance(space, Discrete) else space.nvec  # type: ignore[attr-defined]
