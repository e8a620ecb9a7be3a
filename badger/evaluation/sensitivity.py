"""Sensitivity of what an agent answers at the end of an episode to what it observed at each step before.

It is what any memory remembers, whether it has slots or not, as a heat map with a row for each kind of episode.

Shapes: T step, B episode, O observation, G group of episodes.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from badger.agent import Agent
from badger.evaluation.evaluate import evaluation_mode
from badger.figures.curves import Figure, new_figure
from badger.policies.policies import Policy, identity_policy
from badger.rollouts.loop import rollout
from badger.rollouts.trajectory import initial_carry
from tasks import Task


def answer_sensitivity(
    agent: Agent, task: Task, rng: torch.Generator, episodes: int = 64, *, policy: Policy = identity_policy
) -> Float[Tensor, "B T"]:
    """Norm of the derivative of an agent's last output with respect to each observation of the episode.

    Where a core has no gradient through a part of its memory, such as the links of SDNC, that part is not seen.

    Args:
        agent: the agent.
        task: of a fixed length; after a reset with the same generator its episodes are the same.
        rng: the generator of the episodes.
        episodes: B.
        policy: from outputs to actions.

    Raises:
        ValueError: episodes of the task end at different steps.
    """
    if not task.fixed_length:
        raise ValueError(f"{type(task).__name__} has episodes of different lengths, want a task of a fixed length")
    with evaluation_mode(agent):
        start = initial_carry(agent, task, episodes, rng)
        trajectory, _ = rollout(agent, task, start, rng, policy, steps=task.steps)
        with torch.enable_grad():
            obs, state = trajectory.obs.detach().requires_grad_(), start.agent_state
            for step in obs.unbind():
                output, state = agent(step, state, rng)
            squares = torch.zeros(task.steps, episodes, dtype=obs.dtype, device=obs.device)
            for number in output.flatten(1).unbind(1):
                (slope,) = torch.autograd.grad(number.sum(), obs, retain_graph=True, materialize_grads=True)
                squares += slope.flatten(2).square().sum(-1)
    return squares.sqrt().t()


def group_means(rows: Float[Tensor, "B T"], groups: Int[Tensor, " B"]) -> Float[Tensor, "G T"]:
    """Mean over the episodes of each group, divided by the largest one of its steps: the rows of a heat map.

    Args:
        rows: of `answer_sensitivity`.
        groups: the group of each episode, from 0 on.
    """
    means = torch.stack([rows[groups == group].mean(0) for group in range(int(groups.max()) + 1)])
    return means / means.amax(1, keepdim=True).clamp(min=torch.finfo(means.dtype).tiny)


def plot_sensitivities(
    maps: dict[str, Float[Tensor, "G T"]], labels: Sequence[str], rows: str, columns: int = 6
) -> Figure:
    """A heat map for each agent, on one scale from 0 to 1.

    Args:
        maps: of `group_means`, by name.
        labels: of the steps.
        rows: what the rows are.
        columns: maps side by side.
    """
    lines = -(-len(maps) // columns)
    figure = new_figure(1.9 * columns, 1.1 * lines + 0.5)
    for i, (name, values) in enumerate(maps.items()):
        axes = figure.add_subplot(lines, columns, i + 1)
        axes.imshow(values.cpu(), cmap="viridis", aspect="auto", vmin=0, vmax=1)
        axes.set_title(name, fontsize=8)
        last = i >= len(maps) - columns
        axes.set_xticks(range(len(labels)), labels if last else [], fontsize=5, rotation=90)
        axes.set_yticks([])
        axes.set_ylabel("" if i % columns else rows, fontsize=7)
    return figure
