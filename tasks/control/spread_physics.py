"""The state of `Spread` and its physics: discs that are pushed, slow down, and repel each other.

Shapes: B episode, P agent, as many as landmarks.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import softplus

DIRECTIONS = ((0.0, 0.0), (-1.0, 0.0), (1.0, 0.0), (0.0, -1.0), (0.0, 1.0))  # of the five actions
PUSH, TAU, DAMPING = 5.0, 0.1, 0.25  # force of an action, length of a step, velocity lost in it; all masses are 1
CONTACT, SOFTNESS, DIAMETER = 100.0, 1e-3, 0.3  # force of a contact, width of its onset, distance at which two touch
OCCUPIED = 0.1  # a landmark is occupied by an agent that is as close


class SpreadState(NamedTuple):
    """The state of the episodes.

    Args:
        position: of each agent, first from -1 to 1.
        velocity: of each agent.
        landmarks: their positions.
        total: the sum of an agent's rewards, mean over agents.
        collisions: the number of contacts of an agent so far, one for each other agent and step, mean over agents.
        t: the number of actions taken.
    """

    position: Float[Tensor, "B P 2"]
    velocity: Float[Tensor, "B P 2"]
    landmarks: Float[Tensor, "B P 2"]
    total: Float[Tensor, " B"]
    collisions: Float[Tensor, " B"]
    t: Int[Tensor, " B"]


def contact_forces(position: Float[Tensor, "B P 2"]) -> Float[Tensor, "B P 2"]:
    """The force on each agent from those that it touches: away from them, and softly from 0 on as they approach.

    Args:
        position: of each agent.
    """
    delta, distance = _pairs(position)
    depth = SOFTNESS * softplus((DIAMETER - distance) / SOFTNESS)
    return (CONTACT * depth / distance).unsqueeze(-1).mul(delta).sum(2)  # an agent's own delta is 0


def touches(position: Float[Tensor, "B P 2"]) -> Bool[Tensor, "B P P"]:
    """Whether an agent touches another one.

    Args:
        position: of each agent.
    """
    return _pairs(position)[1] < DIAMETER


def _pairs(position: Tensor) -> tuple[Tensor, Tensor]:
    """The vectors to each agent from each other, (B, P, P, 2), and distances; infinite from an agent to itself."""
    delta = position.unsqueeze(2) - position.unsqueeze(1)
    itself = torch.eye(position.shape[1], dtype=torch.bool, device=position.device)
    return delta, torch.linalg.vector_norm(delta, dim=-1).masked_fill(itself, torch.inf)


def landmark_distances(position: Tensor, landmarks: Tensor) -> Float[Tensor, "B P"]:
    """The distance of each landmark to the nearest agent.

    Args:
        position: of each agent.
        landmarks: their positions.
    """
    return torch.linalg.vector_norm(position.unsqueeze(2) - landmarks.unsqueeze(1), dim=-1).amin(1)
