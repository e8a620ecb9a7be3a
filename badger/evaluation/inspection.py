"""A look inside an agent: one batch of episodes, in numbers and in pictures.

Shapes: T inner step, B episode, E expert, K edge.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from badger import figures
from badger.act import NamedOutputs, OwnedOutputs, WithCritic
from badger.agent import Agent, AgentState
from badger.evaluation.evaluate import cap_episodes, evaluation_mode
from badger.evaluation.trace_similarity import plot_similarities, similarities
from badger.figures.grid_paths import plot_paths
from badger.policies.policies import Policy, identity_policy
from badger.rollouts.loop import rollout
from badger.rollouts.trajectory import Carry, Trajectory, initial_carry
from comms import Edges
from tasks import Task

EPISODES = 64
MAX_TOTAL_EXPERTS = 2**13  # experts in them, at most: a look must not cost more than what it looks at
POINTS = 1000  # experts whose outputs are laid out as points, at most
PLOTTED_STEPS = 5  # inner steps whose score is plotted over outer steps


class Embeddings(NamedTuple):
    """What experts put out in the last step of some episodes: a point and a row of labels each."""

    points: Tensor  # (P, Y), on the host
    header: list[str]  # episode, expert; and output, where each expert owns one
    labels: list[list[int]]


class Inspection(NamedTuple):
    """What one look gives: numbers by tag (means over episodes), pictures of one episode by tag, and points."""

    scalars: dict[str, float]
    plots: dict[str, figures.Figure]
    embeddings: Embeddings


class _StepStats(NamedTuple):
    similarity: Tensor  # (B,)
    entropy: Tensor  # (B,)
    messages: Tensor  # (B,)
    floats: Tensor  # (B,)
    shares: Tensor  # (1, K): pictures show the first episode
    reads: Tensor | None  # (1, E, slots)
    traces: dict[str, Tensor]  # (1, 1, V) each


def inspect_agent(
    agent: Agent, task: Task, rng: torch.Generator, episodes: int = EPISODES, *, policy: Policy = identity_policy
) -> Inspection:
    """Plays `episodes`, fewer of very many experts, and tells of them:

    evaluation/*: scores; inner/*: scores at a few inner steps; memory/*: the core's metrics at the last step;
    comms/*: messages and floats a step, entropy of attention in nats; experts/similarity: mean cosine between the
    outputs of two experts. Pictures: inner curve, reads, what the first expert read and wrote at pairs of steps,
    message graph, guesses beside their targets, paths on a grid.
    """

    def watch(state: AgentState) -> _StepStats:
        reads = agent.core.read_weights(state.core)
        return _StepStats(
            mean_cosine(state.y),
            attention_entropy(state.weights, state.y.shape[1]),
            state.delivery.num_messages,
            state.delivery.num_floats,
            state.weights[:1],
            None if reads is None else reads[:1],
            {name: trace[:1, :1] for name, trace in agent.core.read_write_vectors(state.core).items()},
        )

    with evaluation_mode(agent):
        count = cap_episodes(episodes, agent.experts, MAX_TOTAL_EXPERTS)
        opened = initial_carry(
            agent, task, min(count, task.num_episodes or count), rng
        )  # of a finite task no more than there are
        words = task.step_labels(opened.env_state)
        frames, carry = rollout(agent, task, opened, rng, policy, steps=task.steps, hook=watch)
    seen: list[_StepStats] = frames.hook_outputs
    numbers = {f"evaluation/{name}": value.nanmean() for name, value in frames.scores.items()}
    numbers |= _scores_at_steps(frames)
    numbers |= {f"memory/{name}": value.mean() for name, value in agent.core.metrics(carry.agent_state.core).items()}
    numbers |= {
        "comms/messages": torch.stack([s.messages for s in seen]).mean(),
        "comms/floats": torch.stack([s.floats for s in seen]).mean(),
        "comms/attention_entropy": torch.stack([s.entropy for s in seen]).mean(),
        "experts/similarity": torch.stack([s.similarity for s in seen]).mean(),
    }
    told = {tag: float(value) for tag, value in numbers.items()}
    pictures = _pictures(task, frames, carry, seen, words)
    path = task.path(opened.env_state, frames.action)
    if path is not None:
        pictures["inner/paths"] = plot_paths(path)
    return Inspection(told, pictures, embeddings(agent, carry.agent_state))


def mean_cosine(y: Tensor) -> Tensor:
    """Mean cosine between the outputs of two different experts, (B, E, Y) -> (B,); 1 where there is only one."""
    experts = y.shape[1]
    if experts == 1:
        return y.new_ones(y.shape[0])
    total = normalize(y, dim=-1).sum(1).square().sum(-1)  # all pairs, with oneself, which gives 1 each
    return (total - experts) / (experts * (experts - 1))


def attention_entropy(weights: Tensor, experts: int) -> Tensor:
    """Entropy in nats of what a receiver hears, mean over experts, (B, K) -> (B,)."""
    return -torch.xlogy(weights, weights).sum(-1) / experts


def embeddings(agent: Agent, state: AgentState) -> Embeddings:
    """The experts' last outputs in the first episodes; of very many experts, the first ones of one episode."""
    experts = min(state.y.shape[1], POINTS)
    y = state.y[: POINTS // experts, :experts].cpu()
    columns = {"episode": torch.arange(len(y)).unsqueeze(1), "expert": torch.arange(experts)}
    port = agent.act.base if isinstance(agent.act, WithCritic) else agent.act
    if isinstance(port, OwnedOutputs | NamedOutputs) and state.assignment is not None:  # (B, D, E)
        columns["output"] = state.assignment[: len(y), :, :experts].argmax(1).cpu()
    labels = torch.stack(torch.broadcast_tensors(*columns.values()), -1)  # (B, E, columns)
    return Embeddings(y.flatten(0, 1), list(columns), labels.flatten(0, 1).tolist())


def _scores_at_steps(frames: Trajectory) -> dict[str, Tensor]:
    """Scores that are due at more than one step, at a few of them."""
    numbers: dict[str, Tensor] = {}
    for name, value in frames.scores.items():
        curve = value.nanmean(1)  # (T,)
        due = curve.isfinite().nonzero().flatten().tolist()
        if len(due) > 1:
            chosen = sorted({due[round(i * (len(due) - 1) / (PLOTTED_STEPS - 1))] for i in range(PLOTTED_STEPS)})
            numbers |= {f"inner/{name}/step_{t + 1:03d}": curve[t] for t in chosen}
    return numbers


def _length(frames: Trajectory) -> int:
    """Steps of the first episode."""
    over = (~frames.valid[:, 0]).nonzero()
    return int(over[0]) if len(over) else len(frames.valid)


def _pictures(
    task: Task, frames: Trajectory, carry: Carry, seen: list[_StepStats], words: list[str] | None
) -> dict[str, figures.Figure]:
    shares = figures.first_episode([s.shares for s in seen]).mean(0)
    senders, receivers, weight = (part[0].cpu() for part in carry.agent_state.edges[:3])
    edges = Edges(senders, receivers, weight)
    pictures = {"comms/graph": figures.message_graph(edges, shares, carry.agent_state.y.shape[1])}
    reads = [s.reads for s in seen if s.reads is not None]
    if reads:
        pictures["memory/reads"] = figures.plot_read_weights(figures.first_episode(figures.pad_slots(reads)))
    alike = similarities([s.traces for s in seen[: _length(frames)]])
    if alike:
        pictures["memory/similarity"] = plot_similarities(alike, words)
    for name, value in frames.scores.items():
        curve = value.nanmean(1).cpu()
        if curve.isfinite().sum() > 1:
            pictures[f"inner/{name}"] = figures.inner_curve(curve, name)
    target = task.target(carry.env_state)
    if target is not None:
        pictures["inner/guesses"] = figures.plot_guesses(frames.action[:, 0].cpu(), target[0].cpu())
    return pictures
