"""The loss of imitated actions: the negative log-likelihood of choices, the squared error of real numbers.

Shapes: T step, B window, P agent, D numbers of an output.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from badger.datasets import Episodes
from badger.policies import gaussian, mixed
from badger.policies.policies import Greedy, log_probability
from tasks import ActionSpace, Continuous, Mixed


def action_error(
    output: Float[Tensor, "*T D"],
    action: Tensor,
    space: ActionSpace,
    action_mask: Bool[Tensor, "*T A"] | None = None,
    *,
    deviations: bool = False,
) -> Float[Tensor, "*T"]:
    """How badly an output predicts an action.

    Args:
        output: of the agent.
        action: the recorded one.
        space: the action space.
        action_mask: allowed choices.
        deviations: the output has standard deviations of real numbers (`act.Gaussian`), whose negative log-likelihood
            is the error; else the squared error of the mean, in which the range of an action is 2.
    """
    if isinstance(space, Mixed):
        (logits, numbers), (choices, real) = mixed.split_output(output, space), space.split(action)
        return action_error(logits, choices, space.choices, action_mask) + action_error(
            numbers, real, space.numbers, deviations=deviations
        )
    if isinstance(space, Continuous) and not deviations:
        return gaussian.squared_error(output, action, space)
    return -log_probability(output, action, space, action_mask)


def accuracy(
    output: Float[Tensor, "*T D"], action: Tensor, space: ActionSpace, action_mask: Bool[Tensor, "*T A"] | None = None
) -> Float[Tensor, "*T"] | None:
    """1 where the most likely choices are the recorded ones, else 0; None for actions of real numbers alone.

    Args:
        output: of the agent.
        action: the recorded one.
        space: the action space.
        action_mask: allowed choices.
    """
    if isinstance(space, Continuous):
        return None
    if isinstance(space, Mixed):
        (output, _), (action, _), space = (
            mixed.split_output(output, space),
            space.split(action),
            space.choices,
        )
    chosen, _ = Greedy(space)(output, action_mask, (), torch.Generator())
    equal = chosen == action
    return (equal.all(-1) if equal.dim() == output.dim() else equal).to(output.dtype)


def learned_steps(episodes: Episodes) -> Bool[Tensor, "B T *P"]:
    """The steps whose actions are to be imitated: no padding; of several agents, those that have not ended.

    Args:
        episodes: recorded steps.
    """
    if episodes.reward.dim() == 2:
        return episodes.valid
    ended = (episodes.terminated | episodes.truncated).long()
    return episodes.valid.unsqueeze(-1) & (ended.cumsum(1) == ended)


def masked_mean(values: Float[Tensor, "*T"], mask: Bool[Tensor, "*T"]) -> Float[Tensor, ""]:
    """The mean over the steps of the mask; 0 where there is none.

    Args:
        values: of all steps.
        mask: the steps that count.
    """
    return torch.where(mask, values, 0).sum() / mask.sum().clamp(min=1)
