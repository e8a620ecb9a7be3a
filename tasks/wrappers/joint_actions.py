"""Actions of a wrapper beside those of its task: one space for both, and an action split into both.

Choices come first, those of the task before those of the wrapper; then real numbers in the same order.
"""

import torch
from torch import Tensor

from tasks.task import ActionSpace, Continuous, Discrete, Mixed, MultiDiscrete


def joint_space(space: ActionSpace, nvec: tuple[int, ...], numbers: int) -> ActionSpace:
    """The action space of a task together with choices and real numbers of its wrapper.

    Real numbers of the wrapper have the bounds of the task's own, or -1 to 1 in a task without any.

    Args:
        space: of the task.
        nvec: the number of options of each choice of the wrapper.
        numbers: of the wrapper.
    """
    own, own_numbers = _parts(space)
    choices = MultiDiscrete((*own, *nvec))
    if not own_numbers.size + numbers:
        return choices
    both = Continuous(own_numbers.size + numbers, own_numbers.low, own_numbers.high)
    return Mixed(choices, both) if choices.nvec else both


def split_joint_action(space: ActionSpace, action: Tensor, choices: int, numbers: int) -> tuple[Tensor, Tensor, Tensor]:
    """The action of the task; and the choices, integers (..., choices), and numbers (..., numbers) of the wrapper.

    Args:
        space: of the task.
        action: of the joint space.
        choices: the number of choices of the wrapper.
        numbers: of the wrapper.

    Raises:
        ValueError: choices that are no integers, where the joint space has no real numbers.
    """
    own, own_numbers = _parts(space)
    if action.is_floating_point() and not own_numbers.size + numbers:
        raise ValueError(
            f"actions {tuple(action.shape)} of {action.dtype}, want integers (batch, {len(own) + choices}): choices of "
            "a wrapper give no gradient to logits; roll out with a policy that samples actions from them"
        )
    choice, added_choice, number, added = action.split([len(own), choices, own_numbers.size, numbers], -1)
    if isinstance(space, Discrete):
        inner = choice.squeeze(-1).long()
    elif isinstance(space, MultiDiscrete):
        inner = choice.long()
    else:
        inner = torch.cat([choice, number], -1)
    return inner, added_choice.long(), added


def _parts(space: ActionSpace) -> tuple[tuple[int, ...], Continuous]:
    """The choices and the real numbers of a space; of a space of choices no numbers, from -1 to 1."""
    match space:
        case Continuous():
            return (), space
        case Mixed(choices=choices, numbers=numbers):
            return choices.nvec, numbers
        case Discrete(n=n):
            return (n,), Continuous(0, -1.0, 1.0)
    return space.nvec, Continuous(0, -1.0, 1.0)
