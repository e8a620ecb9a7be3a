"""Behavior cloning of the best x % of the recorded episodes."""

from badger.agent import Agent
from badger.datasets import EpisodeDataset
from badger.learners import host
from badger.learners.offline.base import Offline
from badger.learners.offline.windows import best_rows
from badger.learners.schedules import LearningRate
from tasks import Task


class PercentBC(Offline):
    """Behavior cloning of the episodes with the highest returns alone (%BC).

    It needs no reward beside the choice of the episodes, and is as good as much of offline reinforcement learning where
    good episodes were recorded. It cannot put together pieces of bad ones.

    Metrics: those of `Offline`.

    Args:
        agent, task, data: as in `Offline`; several agents are one, with the mean of their returns.
        percent: of the episodes.
        sequence_length, experts, batch, lr, auxiliary, eval_policy, clip, betas, eps, weight_decay, seed, rank: as in
            `Offline`.

    Raises:
        ValueError: as `Offline` does, and for another percentage.

    Source: Chen et al. 2021 (arXiv:2106.01345), section 5.1.
    """

    def __init__(
        self,
        agent: Agent,
        task: Task,
        *,
        data: EpisodeDataset,
        percent: float = 10.0,
        sequence_length: int = 0,
        experts: int | None = None,
        batch: int = 64,
        lr: LearningRate = 1e-3,
        auxiliary: dict[str, float] | None = None,
        eval_policy: str = "greedy",
        clip: float | None = 1.0,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-4,
        seed: int = 0,
        rank: int | None = None,
    ):
        rows = host.on_host(best_rows, data, percent)
        super().__init__(
            agent, task, data=data, rows=rows, sequence_length=sequence_length, experts=experts, batch=batch, lr=lr,
            auxiliary=auxiliary, eval_policy=eval_policy, clip=clip, betas=betas, eps=eps, weight_decay=weight_decay,
            seed=seed, rank=rank,
        )  # fmt: skip
