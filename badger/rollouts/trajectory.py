"""The values of the inner loop: `Carry`, where it stands, and `Trajectory`, what happened.

Shapes: T step, B episode, P agent of the world.
"""

from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from badger.agent import Agent, AgentState
from experts import state as states
from tasks import EnvHandle, Step, Task

states.Leaf.register(EnvHandle)  # a handle is part of a task's state, and tasks know nothing of the verbs of states


class Carry(NamedTuple):
    """Where an inner loop stands: the world, what it told last, the agent; on the host, steps since the start of the
    episode where the task has a fixed length; and the rows in which an episode, and the agent's state, has just begun.
    """

    env_state: Any
    step: Step
    agent_state: AgentState
    elapsed: int
    episode_start: Bool[Tensor, " B"]


class Trajectory(NamedTuple):
    """What happened, T first: obs was seen, output and action followed, and the world answered with the rest.

    valid: False where the episode had ended and the action was ignored. losses: auxiliary ones of the core.
    scores: as told by the task. hook_outputs: what `watch` made of the agent's state, a list of T. action_masks: the masks that the
    actions were chosen under, a list of T; empty where the task tells none. present: likewise, who was there to see
    obs. active: whose action the world took; in a world of several agents, of those who were there and had not ended.
    episode_start: a new episode opened before this step was seen, and the agent's state began anew with it.
    """

    obs: Float[Tensor, "T B *EO"]
    output: Float[Tensor, "T B *PD"]
    action: Tensor
    reward: Float[Tensor, "T B *P"]
    terminated: Bool[Tensor, "T B *P"]
    truncated: Bool[Tensor, "T B *P"]
    valid: Bool[Tensor, "T B"]
    losses: dict[str, Float[Tensor, "T B"]]
    scores: dict[str, Float[Tensor, "T B"]]
    hook_outputs: list[Any]
    action_masks: list[Bool[Tensor, "B *A"]]
    present: list[Bool[Tensor, "B P"]]
    active: Bool[Tensor, "T B *P"]
    episode_start: Bool[Tensor, "T B"]


def initial_carry(
    agent: Agent, task: Task, batch: int | Int[Tensor, " B"], rng: torch.Generator, *, experts: int | None = None
) -> Carry:
    """New episodes, and an agent that has seen nothing of them. rng gives the device.

    batch: how many to draw; or, of a finite task, the numbers of those to play.
    """
    world, step = task.reset_to(batch, rng) if isinstance(batch, Tensor) else task.reset(batch, rng)
    return Carry(world, step, agent.initial_state(step.obs, rng, experts, task.action_space.size), 0, every_row(step))


def detach_carry(carry: Carry) -> Carry:
    """The same, and no gradient goes further back."""
    return carry._replace(
        agent_state=states.detach(carry.agent_state),
        env_state=states.detach(carry.env_state),
        step=carry.step._replace(obs=carry.step.obs.detach()),
    )


def first_episode_mask(frames: Trajectory) -> Bool[Tensor, "T B"]:
    """The steps of each row's first episode, with the one that ends it."""
    over = frames.terminated | frames.truncated
    ended = over.all(-1) if over.dim() == 3 else over
    return ended.cumsum(0) - ended.long() == 0


def every_row(step: Step) -> Tensor:
    """(B,) every row."""
    return torch.ones(step.obs.shape[0], dtype=torch.bool, device=step.obs.device)
