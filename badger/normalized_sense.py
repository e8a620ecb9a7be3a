"""A sense whose observations are normalized by their running mean and variance.

The moments are buffers, so that a loaded agent has them. Only a learner updates them (`update_obs_moments`), after an
outer step: the log-probabilities of a rollout and of its replay are those of equal moments, and evaluation changes
nothing.

Shapes: T step, B episode, E expert, P agent of the environment, O observation, S input of an expert.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from badger.agent import Agent
from badger.moments import RewardScaling, RunningMoments, Summary, summarize
from badger.sense import Sense


class Normalized(Sense):
    """The wrapped sense of observations with mean 0 and variance 1, clipped; before the first update, as they are.

    Args:
        base: the wrapped sense.
        obs_size: O.
        numeric: the numbers of an observation that are normalized; others, such as one-hot codes, stay as they are.
            None: all.
        clip: largest absolute value of a normalized number.

    Raises:
        ValueError: `numeric` of another length, or a clip that is not above 0.

    Source: `VecNormalize` of Stable-Baselines3; Engstrom et al. 2020, arXiv:2005.12729.
    """

    numeric: Tensor

    def __init__(self, base: Sense, obs_size: int, *, numeric: Sequence[bool] | None = None, clip: float = 10.0):
        super().__init__()
        if numeric is not None and len(numeric) != obs_size:
            raise ValueError(f"numeric has {len(numeric)} values, want one for each of obs_size={obs_size} numbers")
        if not clip > 0:
            raise ValueError(f"clip={clip}, want a number above 0")
        self.base, self.clip, self.output_size = base, clip, base.output_size
        self.elementwise, self.broadcasts = base.elementwise, base.broadcasts
        self.moments = RunningMoments(obs_size)
        chosen = torch.ones(obs_size, dtype=torch.bool) if numeric is None else torch.tensor(numeric)
        self.register_buffer("numeric", chosen, persistent=False)

    def forward(self, obs: Float[Tensor, "B *EO"], experts: int, outputs: int) -> Float[Tensor, "B E S"]:
        normalized = ((obs - self.moments.mean) / self.moments.std).clamp(-self.clip, self.clip)
        return self.base(torch.where(self.numeric, normalized, obs), experts, outputs)


def update_obs_moments(
    agent: Agent, obs: Float[Tensor, "T B *EO"], present: Sequence[Bool[Tensor, "B *P"]], *, copies: int = 1
) -> None:
    """Merges the observations of a rollout into the moments of an agent's sense, where it is `Normalized`.

    Args:
        agent: the agent.
        obs: the observations.
        present: rows, or agents in them, that observed each step; empty: all.
        copies: number of processes that have the same rollout.
    """
    if isinstance(agent.sense, Normalized):
        rows = obs.shape[:-1]
        mask = torch.stack(list(present)) if present else torch.ones(rows, dtype=torch.bool, device=obs.device)
        agent.sense.moments.update(obs, mask, copies=copies)


def summarize_obs(agent: Agent, obs: Float[Tensor, "T B *EO"], mask: Bool[Tensor, "T B"]) -> Summary | tuple[()]:
    """The summary of observations that are finite, for the moments of an agent's sense; () where it keeps none.

    Args:
        agent: the agent.
        obs: the observations.
        mask: the steps that count.
    """
    if not isinstance(agent.sense, Normalized):
        return ()
    finite = obs.isfinite().all(-1)
    rows = mask.reshape(mask.shape + (1,) * (finite.dim() - mask.dim()))
    return summarize(obs.to(agent.sense.moments.mean), finite & rows)


def merge_obs_summaries(agent: Agent, parts: Summary | tuple[()]) -> None:
    """Merges summaries of observations into the moments of an agent's sense.

    Args:
        agent: the agent.
        parts: one after the other, as `summarize_obs` made them.
    """
    if isinstance(agent.sense, Normalized) and parts:
        agent.sense.moments.merge(Summary(*parts))


def normalizer_metrics(agent: Agent, reward_scaling: RewardScaling | None) -> dict[str, Tensor]:
    """Statistics of running normalizations: means over the numbers that are normalized.

    Args:
        agent: its sense may be `Normalized`.
        reward_scaling: of the learner; None: it has none.

    Returns:
        normalizer/obs_mean, normalizer/obs_std and normalizer/return_std, where there are such moments.
    """
    metrics = {}
    if isinstance(agent.sense, Normalized):
        numeric = agent.sense.numeric
        for name, value in {"mean": agent.sense.moments.mean, "std": agent.sense.moments.std}.items():
            metrics[f"normalizer/obs_{name}"] = torch.where(numeric, value, 0).sum() / numeric.sum()
    if reward_scaling is not None:
        metrics["normalizer/return_std"] = reward_scaling.moments.std.mean()
    return metrics
