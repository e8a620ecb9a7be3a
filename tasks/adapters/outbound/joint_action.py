"""Joint actions: the agents of a task, their action spaces, and how their actions form one action of the task.

Shapes: P agent, A components of an action.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from tasks.task import ActionSpace, Continuous, Discrete, Mixed, MultiDiscrete, Step, Task, num_options


@dataclass(frozen=True)
class JointAction(ABC):
    """Abstract base class: combines the actions of several agents into one action of the task.

    Args:
        num_agents: the number P of agents.
        joint_space: the action space of the task.
    """

    num_agents: int
    joint_space: ActionSpace

    @abstractmethod
    def action_space(self, agent_index: int) -> ActionSpace:
        """The action space of an agent."""

    @abstractmethod
    def join(self, actions: dict[int, Tensor]) -> Tensor:
        """The task's action, with a batch of 1, from those of the present agents, each () or (A,)."""

    @abstractmethod
    def split(self, action: Tensor) -> list[Tensor]:
        """One action for each agent, whose `join` is the given action of the task, without batch."""

    @abstractmethod
    def split_mask(self, mask: Bool[Tensor, "*P A"], agent_index: int) -> Bool[Tensor, " A"]:
        """The agent's part of the task's action mask, without batch."""

    @abstractmethod
    def join_masks(self, masks: list[Bool[Tensor, " A"]]) -> Tensor:
        """The task's action mask, without batch, from those of all agents."""


class PerAgentAction(JointAction):
    """The actions of a multi-agent task (`Task.agents`), stacked; the action of an absent agent is 0."""

    def action_space(self, agent_index: int) -> ActionSpace:
        return self.joint_space

    def join(self, actions: dict[int, Tensor]) -> Tensor:
        zeros = torch.zeros_like(next(iter(actions.values())))
        return torch.stack([actions.get(agent_index, zeros) for agent_index in range(self.num_agents)]).unsqueeze(0)

    def split(self, action: Tensor) -> list[Tensor]:
        return list(action.unbind())

    def split_mask(self, mask: Tensor, agent_index: int) -> Tensor:
        return mask[agent_index]

    def join_masks(self, masks: list[Tensor]) -> Tensor:
        return torch.stack(masks)


class VotedAction(JointAction):
    """Vote of experts with one joint action: the majority of each choice (ties: the lowest), the mean of real numbers.

    For tasks with an observation row for each expert; each of them gives a whole action.
    """

    def action_space(self, agent_index: int) -> ActionSpace:
        return self.joint_space

    def join(self, actions: dict[int, Tensor]) -> Tensor:
        votes = torch.stack(list(actions.values()))  # (P,) or (P, A)
        match self.joint_space:
            case Continuous():
                return votes.mean(0, keepdim=True)
            case Mixed() as space:
                choices, numbers = space.split(votes)
                return torch.cat([_majority(choices), numbers.mean(0, keepdim=True)], -1)
        return _majority(votes)

    def split(self, action: Tensor) -> list[Tensor]:
        return [action] * self.num_agents

    def split_mask(self, mask: Tensor, agent_index: int) -> Tensor:
        return mask

    def join_masks(self, masks: list[Tensor]) -> Tensor:
        return masks[0]


class SplitAction(JointAction):
    """Concatenation of parts: each agent gives one choice or one real number of the action; all observe the same.

    Of a `Mixed` action the choices come first.
    """

    def action_space(self, agent_index: int) -> ActionSpace:
        match self.joint_space:
            case MultiDiscrete(nvec=nvec):
                return Discrete(nvec[agent_index])
            case Continuous(low=low, high=high):
                return Continuous(1, low, high)
            case Mixed(choices=choices, numbers=numbers):
                part = choices if agent_index < len(choices.nvec) else numbers
                return SplitAction(self.num_agents, part).action_space(agent_index)
        return self.joint_space

    def join(self, actions: dict[int, Tensor]) -> Tensor:
        parts = [actions[agent_index].reshape(1) for agent_index in range(self.num_agents)]  # () choices, (1,) numbers
        return parts[0] if isinstance(self.joint_space, Discrete) else torch.cat(parts).unsqueeze(0)

    def split(self, action: Tensor) -> list[Tensor]:
        parts = enumerate(action.reshape(self.num_agents, 1))
        return [part if isinstance(self.action_space(i), Continuous) else part.long().squeeze(0) for i, part in parts]

    def split_mask(self, mask: Tensor, agent_index: int) -> Tensor:
        return mask.split([num_options(self.action_space(i)) for i in range(self.num_agents)])[agent_index]

    def join_masks(self, masks: list[Tensor]) -> Tensor:
        return torch.cat(masks)


def make_joint_action(task: Task, reset_step: Step) -> JointAction:
    """The joint action of a task, given the first step of any of its episodes."""
    if task.agents is not None:
        return PerAgentAction(task.agents, task.action_space)
    if reset_step.obs.dim() == 3:
        return VotedAction(reset_step.obs.shape[1], task.action_space)
    match task.action_space:
        case MultiDiscrete(nvec=nvec):
            return SplitAction(len(nvec), task.action_space)
        case Continuous(size=size):
            return SplitAction(size, task.action_space)
        case Mixed(choices=choices, numbers=numbers):
            return SplitAction(len(choices.nvec) + numbers.size, task.action_space)
    return SplitAction(1, task.action_space)


def _majority(votes: Int[Tensor, "P *A"]) -> Int[Tensor, "1 *A"]:
    """The most frequent option of each choice, of several the lowest."""
    choices = votes.reshape(len(votes), -1).numpy().T
    majority = torch.tensor([int(np.bincount(choice).argmax()) for choice in choices])  # numpy's argmax: the first
    return majority.reshape(1, *votes.shape[1:])
