"""Inspection of an agent: metrics, plots and embeddings of one batch of episodes.

Shapes: T inner step, B episode, E expert, K edge.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from badger import figures
from badger.act import NamedOutputs, OwnedOutputs, WithCritic
from badger.agent import Agent, AgentState
from badger.evaluation.batches import cap_episodes
from badger.evaluation.default_size import SHORTEST_LIMIT, with_limit
from badger.evaluation.evaluate import evaluation_mode
from badger.evaluation.imagined_episode import first_row, imagined_episode
from badger.evaluation.played_episode import SeenStep, episode_frames, see_step
from badger.evaluation.trace_similarity import plot_similarities, similarities
from badger.figures.episode_animation import episode_strip
from badger.figures.grid_paths import plot_paths
from badger.figures.imagined_episode import plot_imagined_episode
from badger.policies.policies import Policy, identity_policy
from badger.rollouts.loop import rollout
from badger.rollouts.trajectory import Carry, Trajectory, initial_carry
from comms import Edges
from experts.state import State
from tasks import Task

EPISODES = 64
MAX_TOTAL_EXPERTS = 2**13  # in all episodes: bounds the cost of an inspection
MAX_TOTAL_STEPS = 2**16  # of all episodes, if they are as long as they may be
MAX_POINTS = 1000  # experts whose outputs are embedded
PLOTTED_STEPS = 5  # inner steps whose score is plotted over outer steps


class Embeddings(NamedTuple):
    """Outputs of experts in the last step of some episodes, with labels, for the TensorBoard projector.

    Args:
        points: (points, Y) outputs, on the host.
        header: names of the labels: episode, expert, and output where each expert makes one.
        labels: of each point.
    """

    points: Tensor
    header: list[str]
    labels: list[list[int]]


class Inspection(NamedTuple):
    """The result of an inspection.

    Args:
        scalars: means over episodes, by tag.
        plots: figures of the first episode, by tag.
        embeddings: the outputs of the experts.
    """

    scalars: dict[str, float]
    plots: dict[str, figures.Figure]
    embeddings: Embeddings


class _StepStats(NamedTuple):
    similarity: Tensor  # (B,)
    entropy: Tensor  # (B,)
    num_messages: Tensor  # (B,)
    num_floats: Tensor  # (B,)
    writes: Tensor | None  # (1, E, slots)
    seen: SeenStep  # plots show the first episode
    world: State | None  # of a world model
    traces: dict[str, Tensor]  # (1, 1, V) each


def inspect_agent(
    agent: Agent, task: Task, rng: torch.Generator, episodes: int = EPISODES, *, policy: Policy = identity_policy
) -> Inspection:
    """Runs one batch of episodes, until all have ended, and returns metrics, plots and embeddings.

    Episodes of an external environment are truncated after 1,000 steps.

    Tags: `evaluation/*` scores; `inner/*` scores at a few steps of an episode; `memory/*` metrics of the core at the
    last step; `comms/*` messages and floats in each step, and the entropy of attention in nats; experts/similarity
    the mean cosine between the outputs of two experts. Plots: scores over the steps of an episode, read and write
    weights, similarity of reads and writes at pairs of steps, communication graph, guesses and targets, paths on a
    grid, four steps of an episode (`badger.figures.episode_animation`), and what a world model imagines of the first
    episode (`badger.evaluation.imagined_episode`).

    Args:
        agent: the agent.
        task: the task.
        rng: the generator.
        episodes: number of episodes; fewer with very many experts or very long episodes.
        policy: from outputs to actions.
    """

    def step_stats(state: AgentState) -> _StepStats:
        return _StepStats(
            mean_cosine(state.y),
            attention_entropy(state.weights, state.y.shape[1]),
            state.delivery.num_messages,
            state.delivery.num_floats,
            None if (writes := agent.core.write_weights(state.core)) is None else writes[:1],
            see_step(agent, state),
            first_row(agent, state.core),
            {name: trace[:1, :1] for name, trace in agent.core.read_write_vectors(state.core).items()},
        )

    count, task = inspected_episodes(agent, task, episodes), with_limit(task, SHORTEST_LIMIT)
    with evaluation_mode(agent):
        start = initial_carry(agent, task, count, rng)
        labels = task.step_labels(start.env_state)
        trajectory, carry = rollout(
            agent,
            task,
            start,
            rng,
            policy,
            steps=task.steps,
            first_episodes=True,
            keep_obs=False,
            hook=step_stats,
        )
    stats: list[_StepStats] = trajectory.hook_outputs
    numbers = {f"evaluation/{name}": value.nanmean() for name, value in trajectory.scores.items()}
    numbers |= _scores_at_steps(trajectory)
    numbers |= {f"memory/{name}": value.mean() for name, value in agent.core.metrics(carry.agent_state.core).items()}
    numbers |= {
        "comms/messages": torch.stack([s.num_messages for s in stats]).mean(),
        "comms/floats": torch.stack([s.num_floats for s in stats]).mean(),
        "comms/attention_entropy": torch.stack([s.entropy for s in stats]).mean(),
        "experts/similarity": torch.stack([s.similarity for s in stats]).mean(),
    }
    scalars = {tag: value.item() for tag, value in numbers.items()}
    plots = _make_plots(task, trajectory, carry, stats, labels)
    seen = [step.seen for step in stats]
    plots["episode/steps"] = episode_strip(episode_frames(task, start.env_state, trajectory, seen, carry.agent_state))
    lived = [s.world for s in stats[: _first_episode_length(trajectory) + 1] if s.world is not None]
    imagined = imagined_episode(agent, lived) if lived else None
    if imagined is not None:
        plots["memory/imagined"] = plot_imagined_episode(*imagined)
    path = task.path(start.env_state, trajectory.action)
    if path is not None:
        plots["inner/paths"] = plot_paths(path)
    return Inspection(scalars, plots, embeddings(agent, carry.agent_state))


def inspected_episodes(agent: Agent, task: Task, episodes: int = EPISODES) -> int:
    """The number of episodes of an inspection, at most those of a finite task.

    Args:
        agent: the agent.
        task: the task.
        episodes: the wanted number; fewer with very many experts or very long episodes.
    """
    count = cap_episodes(episodes, agent.experts, MAX_TOTAL_EXPERTS)
    return max(1, min(count, task.num_episodes or count, MAX_TOTAL_STEPS // task.steps))


def mean_cosine(y: Tensor) -> Tensor:
    """Mean cosine similarity between the outputs of two different experts, (B, E, Y) -> (B,); 1 for a single expert.

    Args:
        y: outputs of the experts.
    """
    experts = y.shape[1]
    if experts == 1:
        return y.new_ones(y.shape[0])
    total = normalize(y, dim=-1).sum(1).square().sum(-1)  # all pairs, including those of an expert with itself, 1 each
    return (total - experts) / (experts * (experts - 1))


def attention_entropy(weights: Tensor, experts: int) -> Tensor:
    """Entropy in nats of the weights of incoming edges, mean over experts, (B, K) -> (B,).

    Args:
        weights: of a delivery.
        experts: E.
    """
    return -torch.xlogy(weights, weights).sum(-1) / experts


def embeddings(agent: Agent, state: AgentState) -> Embeddings:
    """Embeddings from the last outputs of the experts in the first episodes, `MAX_POINTS` of them at most.

    Args:
        agent: the agent.
        state: its state after the last step.
    """
    experts = min(state.y.shape[1], MAX_POINTS)
    y = state.y[: MAX_POINTS // experts, :experts].cpu()
    columns = {"episode": torch.arange(len(y)).unsqueeze(1), "expert": torch.arange(experts)}
    head = agent.act.base if isinstance(agent.act, WithCritic) else agent.act
    if isinstance(head, OwnedOutputs | NamedOutputs) and state.assignment is not None:  # (B, D, E)
        columns["output"] = state.assignment[: len(y), :, :experts].argmax(1).cpu()
    labels = torch.stack(torch.broadcast_tensors(*columns.values()), -1)  # (B, E, columns)
    return Embeddings(y.flatten(0, 1), list(columns), labels.flatten(0, 1).tolist())


def _scores_at_steps(trajectory: Trajectory) -> dict[str, Tensor]:
    """Values at a few steps of scores that the task gives at more than one step."""
    numbers: dict[str, Tensor] = {}
    for name, value in trajectory.scores.items():
        curve = value.nanmean(1)  # (T,)
        steps = curve.isfinite().nonzero().flatten().tolist()
        if len(steps) > 1:
            selected = {steps[round(i * (len(steps) - 1) / (PLOTTED_STEPS - 1))] for i in range(PLOTTED_STEPS)}
            numbers |= {f"inner/{name}/step_{t + 1:03d}": curve[t] for t in sorted(selected)}
    return numbers


def _first_episode_length(trajectory: Trajectory) -> int:
    """The number of steps of the first episode in the first row."""
    invalid = (~trajectory.valid[:, 0]).nonzero()
    return int(invalid[0]) if len(invalid) else len(trajectory.valid)


def _make_plots(
    task: Task, trajectory: Trajectory, carry: Carry, stats: list[_StepStats], labels: list[str] | None
) -> dict[str, figures.Figure]:
    weights = figures.first_episode([s.seen.weights for s in stats]).mean(0)
    senders, receivers, weight = (part[0].cpu() for part in carry.agent_state.edges[:3])
    edges = Edges(senders, receivers, weight)
    plots = {"comms/graph": figures.message_graph(edges, weights, carry.agent_state.y.shape[1])}
    slot_weights = {"reads": [s.seen.reads for s in stats], "writes": [s.writes for s in stats]}
    for name, steps in slot_weights.items():
        weights_of_steps = [weights_of_step for weights_of_step in steps if weights_of_step is not None]
        if weights_of_steps:
            padded = figures.pad_slots(weights_of_steps)
            plots[f"memory/{name}"] = figures.plot_read_weights(figures.first_episode(padded))
    matrices = similarities([s.traces for s in stats[: _first_episode_length(trajectory)]])
    if matrices:
        plots["memory/similarity"] = plot_similarities(matrices, labels)
    for name, value in trajectory.scores.items():
        curve = value.nanmean(1).cpu()
        if curve.isfinite().sum() > 1:
            plots[f"inner/{name}"] = figures.inner_curve(curve, name)
    target = task.target(carry.env_state)
    if target is not None:
        plots["inner/guesses"] = figures.plot_guesses(trajectory.action[:, 0].cpu(), target[0].cpu())
    return plots
