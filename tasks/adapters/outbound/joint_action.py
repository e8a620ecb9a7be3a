"""Who the agents of a task are, where each has to act on its own, and how one action of the task is made of theirs.

Shapes: P agent, A numbers of an action.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from tasks.task import Action, Continuous, Discrete, MultiDiscrete, Step, Task


@dataclass(frozen=True)
class Seats(ABC):
    """Places at a task, one for each of `count` agents. `whole` is the action that the task describes."""

    count: int
    whole: Action

    @abstractmethod
    def action(self, place: int) -> Action:
        """What the agent of that place does."""

    @abstractmethod
    def joined(self, given: dict[int, Tensor]) -> Tensor:
        """The task's action, of those agents who are there, each () or (A,); a batch of 1."""

    @abstractmethod
    def parted(self, action: Tensor) -> list[Tensor]:
        """What each agent does, (P,), so that the task's action, without the batch, comes of it."""

    @abstractmethod
    def legal(self, legal: Bool[Tensor, "*P A"], place: int) -> Bool[Tensor, " A"]:
        """What of the task's mask, without the batch, is the agent's."""

    @abstractmethod
    def all_legal(self, masks: list[Bool[Tensor, " A"]]) -> Tensor:
        """The task's mask, without the batch, of what each agent was told."""


class Own(Seats):
    """A world of several agents (`Task.agents`): each does what the action describes; who is gone does 0."""

    def action(self, place: int) -> Action:
        return self.whole

    def joined(self, given: dict[int, Tensor]) -> Tensor:
        nothing = torch.zeros_like(next(iter(given.values())))
        return torch.stack([given.get(place, nothing) for place in range(self.count)]).unsqueeze(0)

    def parted(self, action: Tensor) -> list[Tensor]:
        return list(action.unbind())

    def legal(self, legal: Tensor, place: int) -> Tensor:
        return legal[place]

    def all_legal(self, masks: list[Tensor]) -> Tensor:
        return torch.stack(masks)


class Votes(Seats):
    """Experts who each sense a row of their own, and do one thing together: each says all of it. What most say is
    done, each choice by itself, and of several the lowest number; of real numbers the mean."""

    def action(self, place: int) -> Action:
        return self.whole

    def joined(self, given: dict[int, Tensor]) -> Tensor:
        votes = torch.stack(list(given.values()))  # (P,) or (P, A)
        if isinstance(self.whole, Continuous):
            return votes.mean(0, keepdim=True)
        each = votes.reshape(len(votes), -1).numpy().T
        most = torch.tensor([int(np.bincount(said).argmax()) for said in each])  # argmax of numpy: the first
        return most.reshape(1, *votes.shape[1:])

    def parted(self, action: Tensor) -> list[Tensor]:
        return [action] * self.count

    def legal(self, legal: Tensor, place: int) -> Tensor:
        return legal

    def all_legal(self, masks: list[Tensor]) -> Tensor:
        return masks[0]


class Parts(Seats):
    """All see the same, and each does one part of the action: a choice, or a real number."""

    def action(self, place: int) -> Action:
        match self.whole:
            case MultiDiscrete(ns=ns):
                return Discrete(ns[place])
            case Continuous(low=low, high=high):
                return Continuous(1, low, high)
        return self.whole

    def joined(self, given: dict[int, Tensor]) -> Tensor:
        parts = torch.stack([given[place] for place in range(self.count)])  # (P,) choices, or (P, 1) numbers
        return parts if isinstance(self.whole, Discrete) else parts.reshape(1, -1)

    def parted(self, action: Tensor) -> list[Tensor]:
        parts = action.reshape(self.count, 1)
        return list(parts if isinstance(self.whole, Continuous) else parts.squeeze(1))

    def legal(self, legal: Tensor, place: int) -> Tensor:
        return legal.split([self.action(one).size for one in range(self.count)])[place]

    def all_legal(self, masks: list[Tensor]) -> Tensor:
        return torch.cat(masks)


def seats(task: Task, opened: Step) -> Seats:
    """Those of the task, given what it tells of any episode."""
    agents, rows = task.agents, opened.obs.dim() == 3
    if agents is not None:
        return Own(agents, task.action)
    if rows:
        return Votes(opened.obs.shape[1], task.action)
    match task.action:
        case MultiDiscrete(ns=ns):
            return Parts(len(ns), task.action)
        case Continuous(size=size):
            return Parts(size, task.action)
    return Parts(1, task.action)
