"""Behavior cloning: the agent imitates recorded actions."""

from badger.agent import Agent
from badger.datasets import EpisodeDataset
from badger.learners.offline.base import Offline
from badger.learners.schedules import LearningRate
from tasks import Task


class BehaviorCloning(Offline):
    """Behavior cloning: the likelihood of the recorded actions is maximized, that of real numbers by squared error.

    An agent with a memory sees whole episodes, or with `sequence_length` windows, each with a new memory.

    Metrics: those of `Offline`.

    Args:
        agent, task, data, sequence_length, experts, batch, lr, auxiliary, eval_policy, clip, betas, eps, weight_decay,
            seed, rank: as in `Offline`.

    Raises:
        ValueError: as `Offline` does.

    Source: Pomerleau 1991, "Efficient training of artificial neural networks for autonomous navigation".
    """

    def __init__(
        self,
        agent: Agent,
        task: Task,
        *,
        data: EpisodeDataset,
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
        super().__init__(
            agent, task, data=data, sequence_length=sequence_length, experts=experts, batch=batch, lr=lr,
            auxiliary=auxiliary, eval_policy=eval_policy, clip=clip, betas=betas, eps=eps, weight_decay=weight_decay,
            seed=seed, rank=rank,
        )  # fmt: skip
