"""Where observation, last action and last reward are in the input of a core that plans.

Shapes: ... any leading axes, D input, S numbers of a step, G numbers of a goal.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

LARGEST = 10_000  # bins of a number, and plans of a beam
OBJECTIVES = ("return", "likelihood", "goal")  # of a plan


class StepLayout(NamedTuple):
    """Sizes of the parts of an input [observation, last action, last reward, ...]; what follows is not read.

    A step as numbers is [state, action, reward, end, value to go]: the state is the observation without the numbers
    that name a goal; a choice is the number of its option.

    Args:
        obs: numbers of the observation.
        choices: options of each choice of an action, which are one-hot in the input.
        numbers: real numbers of an action, after its choices.
        goals: pairs of indices in the observation: a number that names a goal, and the number that is to equal it.
    """

    obs: int
    choices: tuple[int, ...] = ()
    numbers: int = 0
    goals: tuple[tuple[int, int], ...] = ()

    @property
    def input_size(self) -> int:
        """The least size of an input."""
        return self.obs + self.action_inputs + 1

    @property
    def action_inputs(self) -> int:
        """Numbers of an action in the input, and outputs that an agent needs for it."""
        return sum(self.choices) + self.numbers

    @property
    def state(self) -> list[int]:
        """The indices of the observation's numbers that are the state."""
        named = {goal for goal, _ in self.goals}
        return [i for i in range(self.obs) if i not in named]

    @property
    def goal_dims(self) -> list[int]:
        """The numbers of the state that a goal names, as their places in a step."""
        state = self.state
        return [state.index(reached) for _, reached in self.goals]

    @property
    def actions(self) -> int:
        """Numbers of an action in a step."""
        return len(self.choices) + self.numbers

    @property
    def size(self) -> int:
        """S, numbers of a step."""
        return len(self.state) + self.actions + 3

    @property
    def first_action(self) -> int:
        """The place of the action in a step."""
        return len(self.state)

    @property
    def reward(self) -> int:
        """The place of the reward in a step; those of the end and of the value to go follow."""
        return self.first_action + self.actions

    @property
    def options(self) -> list[int | None]:
        """For each number of a step the options of a choice; None: a real number."""
        return [None] * len(self.state) + [*self.choices] + [None] * (self.numbers + 1) + [2, None]

    def read_goal(self, obs: Float[Tensor, "*B obs"]) -> Float[Tensor, "*B G"]:
        """The goal that an observation names.

        Args:
            obs: the observation, at the head of an input.
        """
        return obs[..., [goal for goal, _ in self.goals]]

    def read_action(self, x: Float[Tensor, "*B D"]) -> Float[Tensor, "*B actions"]:
        """The last action as numbers of a step.

        Args:
            x: the input.
        """
        *options, numbers = x[..., self.obs : self.obs + self.action_inputs].split([*self.choices, self.numbers], -1)
        return torch.cat([*(part.argmax(-1, keepdim=True).to(x.dtype) for part in options), numbers], -1)

    def read_reward(self, x: Float[Tensor, "*B D"]) -> Float[Tensor, "*B 1"]:
        """The last reward.

        Args:
            x: the input.
        """
        start = self.obs + self.action_inputs
        return x[..., start : start + 1]

    def read_step(
        self,
        obs: Float[Tensor, "*B obs"],
        action: Tensor,
        reward: Float[Tensor, "*B"],
        end: Bool[Tensor, "*B"],
        value: Float[Tensor, "*B"],
    ) -> Float[Tensor, "*B S"]:
        """A recorded step as numbers.

        Args:
            obs: the observation.
            action: integers of choices, or real numbers, as a task takes them.
            reward: after the action.
            end: whether nothing follows the action.
            value: the value to go.
        """
        action = action.reshape(*reward.shape, self.actions).to(obs.dtype)
        return torch.cat([obs[..., self.state], action, torch.stack([reward, end.to(reward), value], -1)], -1)

    def sequence(self, steps: int) -> list[int]:
        """Which number of a step each token of a sequence is: those of a goal, then those of each step.

        Args:
            steps: in the sequence.
        """
        return [*self.goal_dims, *list(range(self.size)) * steps]


EXAMPLE = StepLayout(obs=1, numbers=1)
"""The layout of a core that is built without a task."""


def check_layout(layout: StepLayout | None, objective: str, input_size: int, hidden_size: int) -> StepLayout:
    """The layout that a core with this objective reads: a goal is part of the state, unless it is the objective.

    Args:
        layout: of the task; None: the task has none.
        objective: of its plans.
        input_size: of the core.
        hidden_size: of its output.

    Raises:
        ValueError: no layout, an unknown objective, a goal that the observation does not name, or sizes too small.
    """
    if layout is None:
        raise ValueError(
            "core 'trajectory_transformer' reads the last action and reward: want one agent in "
            "PreviousActionReward, and observations that no sense changes"
        )
    if objective not in OBJECTIVES:
        raise ValueError(f"objective={objective!r}, want one of {', '.join(OBJECTIVES)}")
    if objective == "goal" and not layout.goals:
        raise ValueError(
            "objective='goal': the observation names no goal; want parts 'position' and 'goal' of equal sizes, or the "
            "objective return"
        )
    outputs = layout.action_inputs + (layout.choices[0] if layout.choices else 1)
    if input_size < layout.input_size:
        raise ValueError(f"input_size={input_size}, want at least {layout.input_size}: observation, action and reward")
    if hidden_size < outputs:
        raise ValueError(
            f"hidden_size={hidden_size}, want at least {outputs}: an action, and probabilities of its first choice"
        )
    return layout if objective == "goal" else layout._replace(goals=())
