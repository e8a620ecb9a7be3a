"""A task that tells an agent what it has done, and what came of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from torch.nn.functional import one_hot

from tasks.task import ActionSpace, Continuous, Discrete, MultiDiscrete, Path, Step, Task


@dataclass(frozen=True)
class PreviousActionReward(Task):
    """The same task, with the last action, its reward, and whether it ended the episode appended to the observation:
    zeros at the start. Recurrent agents are usually told so much (Duan et al. 2016, arXiv:1611.02779; Wang et al. 2016,
    arXiv:1611.05763), and one that lives through several episodes must be.

    A choice is told one-hot, several choices side by side; of logits the likeliest, without gradient; numbers as they
    are. Where each expert sees its own, all are told what all have done, or each its own where each acts.

    Where a task has a fixed length, a rollout shows no final observation, and so not what the last action brought.

    Args:
        task: which.
    """

    steps: int = field(init=False, repr=False)
    task: Task = None  # type: ignore[assignment]  # what follows a field with a default has one; refused below
    dtype: torch.dtype = field(default=None, kw_only=True)  # type: ignore[assignment]  # the task's, unless told

    def __post_init__(self) -> None:
        if not isinstance(self.task, Task):
            raise ValueError(f"task={self.task!r}, want a Task, as in Feedback(TMaze())")
        if self.dtype is not None and self.dtype != self.task.dtype:
            object.__setattr__(self, "task", replace(self.task, dtype=self.dtype))
        for name in ("steps", "dtype", "differentiable", "fixed_length", "score", "better", "external"):
            object.__setattr__(self, name, getattr(self.task, name))

    @property
    def obs_size(self) -> int:
        return self.task.obs_size + self.task.action_space.size + 2

    @property
    def action_space(self) -> ActionSpace:
        return self.task.action_space

    @property
    def agents(self) -> int | None:
        return self.task.agents

    @property
    def num_episodes(self) -> int | None:
        return self.task.num_episodes

    @property
    def buckets(self) -> Sequence[Task]:
        return [replace(self, task=part) for part in self.task.buckets]

    @property
    def evaluation_task(self) -> Task:
        return replace(self, task=self.task.evaluation_task)

    def reset_to(self, index: Int[Tensor, " B"], rng: torch.Generator) -> tuple[Any, Step]:
        state, step = self.task.reset_to(index, rng)
        return state, self._opened(step)

    def reset(self, batch: int, rng: torch.Generator) -> tuple[Any, Step]:
        state, step = self.task.reset(batch, rng)
        return state, self._opened(step)

    def restart(self, state: Any, mask: Bool[Tensor, " B"], rng: torch.Generator) -> tuple[Any, Step]:
        state, step = self.task.restart(state, mask, rng)
        return state, self._opened(step)

    def step(self, state: Any, action: Tensor, rng: torch.Generator) -> tuple[Any, Step]:
        state, step = self.task.step(state, action, rng)
        ended = step.terminated | step.truncated
        told = [
            _encode_action(self.action_space, action.detach()),
            step.reward.detach().unsqueeze(-1),
            ended.unsqueeze(-1),
        ]
        lead = step.obs.shape[:-1]
        if step.reward.dim() > len(lead):
            raise ValueError(
                f"{type(self.task).__name__} rewards each, {tuple(step.reward.shape)}, but shows one observation for "
                f"all, {tuple(step.obs.shape)}: Feedback has nowhere to tell them; let the task show each its own"
            )
        parts = [part if part.shape[:-1] == lead else part.unsqueeze(1).expand(*lead, -1) for part in told]
        return state, step._replace(obs=torch.cat([step.obs, *(part.to(step.obs) for part in parts)], -1))

    def _opened(self, step: Step) -> Step:
        nothing = step.obs.new_zeros(*step.obs.shape[:-1], self.action_space.size + 2)
        return step._replace(obs=torch.cat([step.obs, nothing], -1))

    @property
    def notes(self) -> list[str]:
        return self.task.notes

    def references(self) -> dict[str, dict[str, float]]:
        return self.task.references()

    def target(self, state: Any) -> Tensor | None:
        return self.task.target(state)

    def path(self, opened: Any, action: Tensor) -> Path | None:
        return self.task.path(opened, action)

    def step_labels(self, state: Any, row: int = 0) -> list[str] | None:
        return self.task.step_labels(state, row)


def _encode_action(kind: ActionSpace, action: Tensor) -> Tensor:
    """(..., size) numbers."""
    match kind:
        case Continuous():
            return action
        case Discrete(n=n):
            return one_hot(action.argmax(-1) if action.is_floating_point() else action, n)
        case MultiDiscrete(nvec=ns):
            if action.is_floating_point():
                action = torch.stack([part.argmax(-1) for part in action.split(ns, -1)], -1)
            return torch.cat([one_hot(one, n) for one, n in zip(action.unbind(-1), ns, strict=True)], -1)
