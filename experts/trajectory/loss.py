"""The loss of a transformer over recorded steps.

Shapes: R window, T step, S numbers of a step, G numbers of a goal.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import cross_entropy

from experts.trajectory.core import TrajectoryTransformer

ACTION_WEIGHT = 5.0


def sequence_loss(
    core: TrajectoryTransformer,
    steps: Float[Tensor, "R T S"],
    goal: Float[Tensor, "R G"],
    valid: Bool[Tensor, "R T"],
) -> Float[Tensor, ""]:
    """Mean cross-entropy of the tokens of recorded steps; those of actions count five times.

    The first token of a window is predicted only after a goal.

    Args:
        core: whose transformer predicts them.
        steps: windows of at most `core.window` steps as numbers.
        goal: the final state that each window leads to, of the numbers that a goal names.
        valid: steps that are not padding.

    Source: Janner, Li and Levine 2021 (arXiv:2106.02039), equation 1.
    """
    layout = core.layout
    tokens = core.discretizer.encode(steps, range(layout.size)).flatten(1)
    tokens = torch.cat([core.discretizer.encode(goal, layout.goal_dims), tokens], 1)
    dims = torch.tensor(layout.sequence(steps.shape[1]), device=steps.device)
    position = torch.arange(tokens.shape[1] - 1, device=steps.device).expand(len(tokens), -1)
    features, _ = core.model(tokens[:, :-1], dims[:-1], position, None)
    logits = core.model.all_logits(features, dims[1:], core.discretizer.used)
    loss = cross_entropy(logits.transpose(1, 2), tokens[:, 1:], reduction="none")
    weight = steps.new_ones(layout.size)
    weight[layout.first_action : layout.first_action + layout.actions] = ACTION_WEIGHT
    weights = torch.cat([torch.zeros_like(goal), (valid.unsqueeze(-1) * weight).flatten(1)], 1)[:, 1:]
    return (loss * weights).sum() / weights.sum()
