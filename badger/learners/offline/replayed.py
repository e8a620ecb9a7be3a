"""Recorded episodes as inputs of an agent, from which its outputs are computed.

Shapes: B window, T step, O observation.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from badger.agent import Agent
from badger.datasets import EpisodeDataset, Episodes
from badger.rollouts.recording import Recording
from experts import random_seeds
from experts.state import State
from tasks import PreviousActionReward, Task


def check_data(data: EpisodeDataset, task: Task) -> None:
    """Refuses a data set of another task.

    Args:
        data: recorded episodes.
        task: in which the agent is to act.

    Raises:
        ValueError: says what differs.
    """
    name, agents = type(task).__name__, data.returns.shape[1:]
    for what, found, wanted in (
        ("actions", data.action_space, task.action_space),
        ("agents:", data.agents, task.agents),
    ):
        if found != wanted:
            raise ValueError(f"data has {what} {found}, and {name} {wanted}: want the task that was recorded")
    sizes = [task.obs_size] + ([task.task.obs_size] if isinstance(task, PreviousActionReward) and not agents else [])
    if data.obs_size not in sizes:
        raise ValueError(
            f"data has observations of {data.obs_size} numbers, and {name} of {' or '.join(map(str, sizes))}: want the "
            "task that was recorded"
        )


def observations(task: Task, episodes: Episodes) -> Float[Tensor, "B T1 *PO"]:
    """The observations as the agent's task gives them.

    Where the task is wrapped to append the previous action and reward and the recorded one was not, they are appended
    here. The first step of a window has none, as at the start of an episode: an agent whose memory begins there does
    not know what was before.

    Args:
        task: in which the agent is to act.
        episodes: recorded steps.
    """
    obs = episodes.obs
    if not isinstance(task, PreviousActionReward):
        return obs
    if obs.shape[-1] != task.obs_size:
        return task.append_recorded(obs, episodes.action, episodes.reward, episodes.terminated | episodes.truncated)
    first = torch.nn.functional.pad(obs[:, :1, ..., : task.task.obs_size], (0, task.obs_size - task.task.obs_size))
    return torch.cat([first, obs[:, 1:]], 1)


def to_recording(
    agent: Agent,
    task: Task,
    episodes: Episodes,
    rng: torch.Generator,
    *,
    experts: int,
    begin: Callable[[State], State] = lambda state: state,
) -> Recording:
    """Recorded steps as inputs of an agent that begins with the first one, for `badger.rollouts.recording.replay`.

    Args:
        agent: the agent.
        task: in which it is to act.
        episodes: recorded steps, on the device of the agent.
        rng: the generator of identities, assignments and seeds, on that device.
        experts: number of experts.
        begin: changes the initial state of the core, such as the return that is asked for.
    """
    obs = observations(task, episodes)[:, :-1].movedim(1, 0)
    state = agent.initial_state(obs[0], rng, experts, task.action_space.size)
    state = state._replace(core=begin(state.core))

    def in_each_step(part: Tensor | None) -> Tensor | None:
        return None if part is None else part.expand(len(obs), *part.shape)

    start = torch.zeros(obs.shape[:2], dtype=torch.bool, device=obs.device)
    identity = in_each_step(state.identity)
    assert identity is not None
    assignment, graph, seeds = map(in_each_step, (state.assignment, state.graph, random_seeds(state.core)))
    return Recording(state, obs, start, identity, assignment, None, graph, seeds)
