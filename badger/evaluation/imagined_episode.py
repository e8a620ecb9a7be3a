"""Imagined continuations of an episode that was lived, by a world model that is given the same actions.

Shapes: T step, K imagined episodes, S steps of them, O numbers of an observation.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from badger.agent import Agent
from experts import random_seeds, with_random_seeds
from experts import state as states
from experts.state import State
from experts.world_model import WorldModel

SEEN_STEPS = 5  # observed before imagination starts
IMAGINED_EPISODES = 4


class ImaginedEpisode(NamedTuple):
    """An episode, and its continuations in imagination, as the core reads observations.

    Args:
        real: observations.
        imagined: of the last S steps, several times with other random numbers.
    """

    real: Float[Tensor, "T O"]
    imagined: Float[Tensor, "K S O"]


def first_row(agent: Agent, state: State) -> State | None:
    """The core's state of the first episode, to be kept for `imagined_episode`; None of a core that cannot imagine.

    Args:
        agent: the agent.
        state: of its core.
    """
    core = agent.core
    if not isinstance(core, WorldModel) or not core.action_size:
        return None
    return states.map(lambda part: part[:1], state)


def imagined_episode(agent: Agent, lived: list[State]) -> ImaginedEpisode | None:
    """Imagines the rest of an episode after its first steps, for the first expert; None of one that is too short.

    Args:
        agent: its core is a `WorldModel`.
        lived: the states of one episode, after each of its steps.
    """
    core = agent.core
    assert isinstance(core, WorldModel)
    if len(lived) <= SEEN_STEPS:
        return None
    observed, actions = zip(*map(core.last_step, lived), strict=True)
    state = states.map(lambda part: part.expand(IMAGINED_EPISODES, *part.shape[1:]), lived[SEEN_STEPS - 1])
    seeds, imagined = random_seeds(state), []
    if seeds is not None:
        state = with_random_seeds(state, seeds + torch.arange(IMAGINED_EPISODES, device=seeds.device).unsqueeze(-1))
    with torch.no_grad():
        for action in actions[SEEN_STEPS:]:
            state = core.imagine(action.expand(IMAGINED_EPISODES, *action.shape[1:]), state)
            imagined.append(core.predict(core.features(state))[:, 0])
    real = torch.cat([part[:, 0] for part in observed])
    return ImaginedEpisode(real.detach().cpu(), torch.stack(imagined, 1).cpu())
