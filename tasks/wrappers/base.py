"""The base class of task wrappers, which gives what a wrapper does not change."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from tasks.task import Step, Task


@dataclass(frozen=True)
class TaskWrapper(Task):
    """Abstract base class of a task around another one: it has its episodes, agents, scores and references.

    Args:
        steps: the steps of the wrapped task.
        task: the wrapped task.
        dtype: replaces the dtype of the task; None: its own.

    Raises:
        ValueError: `task` is not a Task.
    """

    steps: int = field(init=False, repr=False)
    task: Task = None  # type: ignore[assignment]  # needs a default after `dtype`; checked below
    dtype: torch.dtype = field(default=None, kw_only=True)  # type: ignore[assignment]  # set below

    def __post_init__(self) -> None:
        if not isinstance(self.task, Task):
            raise ValueError(f"task={self.task!r}, want a Task, as in {type(self).__name__}(TMaze())")
        if self.dtype is not None and self.dtype != self.task.dtype:
            object.__setattr__(self, "task", replace(self.task, dtype=self.dtype))
        for name in ("steps", "dtype", "differentiable", "fixed_length", "score", "better", "external"):
            object.__setattr__(self, name, getattr(self.task, name))

    @abstractmethod
    def _inner_state(self, state: Any) -> Any:
        """The state of the wrapped task."""

    @property
    def agents(self) -> int | None:
        return self.task.agents

    @property
    def known_model(self) -> Any | None:
        return self.task.known_model

    @property
    def num_episodes(self) -> int | None:
        return self.task.num_episodes

    @property
    def buckets(self) -> Sequence[Task]:
        return [replace(self, task=bucket) for bucket in self.task.buckets]

    @property
    def evaluation_task(self) -> Task:
        return replace(self, task=self.task.evaluation_task)

    @property
    def mirrored(self) -> Task:
        mirrored = self.task.mirrored
        return self if mirrored is self.task else replace(self, task=mirrored)

    @property
    def notes(self) -> list[str]:
        return self.task.notes

    def references(self) -> dict[str, dict[str, float]]:
        return self.task.references()

    def step_labels(self, state: Any, row: int = 0) -> list[str] | None:
        return self.task.step_labels(self._inner_state(state), row)


def next_acting(step: Step) -> Bool[Tensor, "B P"]:
    """The agents that act in the next step of a task of several agents.

    Args:
        step: the last step.
    """
    acting = ~(step.terminated | step.truncated)
    return acting if step.present is None else acting & step.present


def of_present(feature: Tensor, step: Step) -> Tensor:
    """A feature (B, P, k) of the agents that receive an observation; 0 for others.

    Args:
        feature: of all agents.
        step: says who is present.
    """
    return feature if step.present is None else torch.where(step.present.unsqueeze(-1), feature, 0)


def append_to_obs(step: Step, features: Sequence[Tensor]) -> Step:
    """The step with features of each episode, or agent, at the end of the observation of every expert.

    Args:
        step: its obs is (B, O), (B, E, O) or (B, P, O).
        features: (B, k), or (B, P, k), which an observation for each agent must match.
    """
    lead = step.obs.shape[:-1]
    parts = [part if part.shape[:-1] == lead else part.unsqueeze(1).expand(*lead, -1) for part in features]
    return step._replace(obs=torch.cat([step.obs, *(part.to(step.obs) for part in parts)], -1))
