"""One episode of an agent, recorded to be watched: `badger.figures.episode_animation` draws it.

Shapes: T inner step, B episode.
"""

import warnings
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from badger import figures
from badger.agent import Agent, AgentState
from badger.evaluation.default_size import SHORTEST_LIMIT, with_limit
from badger.evaluation.evaluate import evaluation_mode
from badger.figures.episode_panels import EpisodeFrames
from badger.policies.policies import Policy, identity_policy
from badger.rng import seeded_generator
from badger.rollouts.loop import rollout
from badger.rollouts.trajectory import Trajectory, first_episode_mask, initial_carry
from comms import Edges
from tasks import Discrete, Task
from tasks.adapters.outbound.rendering import render_grid


class SeenStep(NamedTuple):
    """What is drawn of an agent's state after a step, in the first row of the batch.

    Args:
        weights: (1, K), of the delivery.
        reads: (1, E, slots), read weights of the memory; None: it has none.
    """

    weights: Tensor
    reads: Tensor | None


def see_step(agent: Agent, state: AgentState) -> SeenStep:
    """What is drawn of a state.

    Args:
        agent: the agent.
        state: after a step.
    """
    reads = agent.core.read_weights(state.core)
    return SeenStep(state.weights[:1], None if reads is None else reads[:1])


def play_episode(
    agent: Agent, task: Task, rng: torch.Generator, policy: Policy = identity_policy, *, pictures: bool = True
) -> EpisodeFrames:
    """Plays one episode, and keeps what can be seen of it.

    Pictures are those of an environment of Gymnasium with the render mode "rgb_array", or of a task on a grid. Where an
    environment makes none, a warning says why. An episode of an external environment is truncated after 1,000 steps.

    Args:
        agent: the agent.
        task: the task.
        rng: the generator, on the agent's device.
        policy: from outputs to actions.
        pictures: keep pictures of the world.
    """
    task = with_limit(task, SHORTEST_LIMIT)
    task, shown = _with_pictures(task) if pictures else (task, [])
    with evaluation_mode(agent):
        carry = initial_carry(agent, task, 1, rng)
        trajectory, last = rollout(
            agent, task, carry, rng, policy,
            steps=task.steps, first_episodes=True, hook=lambda state: see_step(agent, state),
        )  # fmt: skip
    frames = episode_frames(task, carry.env_state, trajectory, trajectory.hook_outputs, last.agent_state)
    if pictures and not task.external:
        shown = _grid_pictures(task, carry.env_state, trajectory.action[: frames.steps])
    return frames._replace(pictures=shown[: frames.steps + 1])


def episode_frames(
    task: Task, env_state: Any, trajectory: Trajectory, seen: list[SeenStep], state: AgentState
) -> EpisodeFrames:
    """The frames of the first episode in the first row of a rollout, without pictures.

    Args:
        task: of the rollout.
        env_state: its state at the start of the rollout, for the target.
        trajectory: the rollout.
        seen: of each step.
        state: of the agent, for the edges and for the experts that make each output.
    """
    steps = int(first_episode_mask(trajectory)[:, 0].sum())
    senders, receivers, weight = (part[0].cpu() for part in state.edges[:3])
    reads = [step.reads for step in seen[:steps] if step.reads is not None]
    target, space = task.target(env_state), task.action_space
    action, output = trajectory.action[:steps, 0].detach().cpu(), trajectory.output[:steps, 0].detach().cpu()
    one_choice = isinstance(space, Discrete) and task.agents is None
    if one_choice and action.dim() == 2:  # logits of a differentiable task
        action = action[:, : space.size].argmax(-1)
    reward = trajectory.reward[:steps, 0].detach().cpu()
    return EpisodeFrames(
        Edges(senders, receivers, weight),
        figures.first_episode([step.weights for step in seen[:steps]]),
        state.y.shape[1],
        figures.first_episode(figures.pad_slots(reads)) if reads else None,
        action,
        output[:, : space.size].softmax(-1) if one_choice else None,
        None if target is None else target[0].detach().cpu(),
        _owners(state),
        reward if reward.dim() == 1 else reward.mean(-1),
        {name: values[:steps, 0].detach().cpu() for name, values in trajectory.scores.items()},
    )


def _owners(state: AgentState) -> list[int] | None:
    """The expert that makes each output; None without an assignment (B, D, E + name size)."""
    if state.assignment is None or state.assignment.dim() != 3:
        return None
    return state.assignment[0, :, : state.y.shape[1]].argmax(-1).cpu().tolist()


def _with_pictures(task: Task) -> tuple[Task, list[np.ndarray]]:
    """A task whose environment fills the list with its pictures; the task itself where it cannot."""
    shown: list[np.ndarray] = []
    try:
        picture_task = task.with_pictures(shown)
        if picture_task is not task:
            picture_task.reset(1, seeded_generator(0))
    except Exception as error:  # of whatever kind: code of others
        warnings.warn(f"no pictures of the environment: {str(error).split(chr(10))[0]}", stacklevel=3)
        return task, []
    shown.clear()
    return picture_task, shown


def _grid_pictures(task: Task, env_state: Any, actions: Tensor) -> list[np.ndarray]:
    """Pictures of a task on a grid before each step and after the last one; none of another task."""
    pictures = [render_grid(task, env_state, list(actions[:t].cpu())) for t in range(len(actions) + 1)]
    return [picture for picture in pictures if picture is not None]
