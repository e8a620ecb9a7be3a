"""Who the agents of a task are, where each has to act on its own, and how one action of the task is made of theirs.

Shapes: P agent, A numbers of an action.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from tasks.task import ActionSpace, Continuous, Discrete, MultiDiscrete, Step, Task


@dataclass(frozen=True)
class JointAction(ABC):
    """Places at a task, one for each of `num_agents` agents. `joint_space` is the action that the task describes."""

    num_agents: int
    joint_space: ActionSpace

    @abstractmethod
    def action_space(self, place: int) -> ActionSpace:
        """What the agent of that place does."""

    @abstractmethod
    def join(self, given: dict[int, Tensor]) -> Tensor:
        """The task's action, of those agents who are there, each () or (A,); a batch of 1."""

    @abstractmethod
    def split(self, action: Tensor) -> list[Tensor]:
        """What each agent does, (P,), so that the task's action, without the batch, comes of it."""

    @abstractmethod
    def split_mask(self, legal: Bool[Tensor, "*P A"], place: int) -> Bool[Tensor, " A"]:
        """What of the task's mask, without the batch, is the agent's."""

    @abstractmethod
    def join_masks(self, masks: list[Bool[Tensor, " A"]]) -> Tensor:
        """The task's mask, without the batch, of what each agent was told."""


class PerAgentAction(JointAction):
    """A world of several agents (`Task.agents`): each does what the action describes; who is gone does 0."""

    def action_space(self, place: int) -> ActionSpace:
        return self.joint_space

    def join(self, given: dict[int, Tensor]) -> Tensor:
        nothing = torch.zeros_like(next(iter(given.values())))
        return torch.stack([given.get(place, nothing) for place in range(self.num_agents)]).unsqueeze(0)

    def split(self, action: Tensor) -> list[Tensor]:
        return list(action.unbind())

    def split_mask(self, legal: Tensor, place: int) -> Tensor:
        return legal[place]

    def join_masks(self, masks: list[Tensor]) -> Tensor:
        return torch.stack(masks)


class VotedAction(JointAction):
    """Experts who each sense a row of their own, and do one thing together: each says all of it. What most say is
    done, each choice by itself, and of several the lowest number; of real numbers the mean."""

    def action_space(self, place: int) -> ActionSpace:
        return self.joint_space

    def join(self, given: dict[int, Tensor]) -> Tensor:
        votes = torch.stack(list(given.values()))  # (P,) or (P, A)
        if isinstance(self.joint_space, Continuous):
            return votes.mean(0, keepdim=True)
        each = votes.reshape(len(votes), -1).numpy().T
        most = torch.tensor([int(np.bincount(said).argmax()) for said in each])  # argmax of numpy: the first
        return most.reshape(1, *votes.shape[1:])

    def split(self, action: Tensor) -> list[Tensor]:
        return [action] * self.num_agents

    def split_mask(self, legal: Tensor, place: int) -> Tensor:
        return legal

    def join_masks(self, masks: list[Tensor]) -> Tensor:
        return masks[0]


class SplitAction(JointAction):
    """All see the same, and each does one part of the action: a choice, or a real number."""

    def action_space(self, place: int) -> ActionSpace:
        match self.joint_space:
            case MultiDiscrete(nvec=ns):
                return Discrete(ns[place])
            case Continuous(low=low, high=high):
                return Continuous(1, low, high)
        return self.joint_space

    def join(self, given: dict[int, Tensor]) -> Tensor:
        parts = torch.stack([given[place] for place in range(self.num_agents)])  # (P,) choices, or (P, 1) numbers
        return parts if isinstance(self.joint_space, Discrete) else parts.reshape(1, -1)

    def split(self, action: Tensor) -> list[Tensor]:
        parts = action.reshape(self.num_agents, 1)
        return list(parts if isinstance(self.joint_space, Continuous) else parts.squeeze(1))

    def split_mask(self, legal: Tensor, place: int) -> Tensor:
        return legal.split([self.action_space(one).size for one in range(self.num_agents)])[place]

    def join_masks(self, masks: list[Tensor]) -> Tensor:
        return torch.cat(masks)


def make_joint_action(task: Task, opened: Step) -> JointAction:
    """Those of the task, given what it tells of any episode."""
    agents, rows = task.agents, opened.obs.dim() == 3
    if agents is not None:
        return PerAgentAction(agents, task.action_space)
    if rows:
        return VotedAction(opened.obs.shape[1], task.action_space)
    match task.action_space:
        case MultiDiscrete(nvec=ns):
            return SplitAction(len(ns), task.action_space)
        case Continuous(size=size):
            return SplitAction(size, task.action_space)
    return SplitAction(1, task.action_space)
