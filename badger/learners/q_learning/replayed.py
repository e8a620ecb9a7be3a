"""Sequences of a replay buffer as recordings, which an agent replays."""

import torch

from badger.agent import Agent
from badger.learners.q_learning.replay import SequenceBatch
from badger.learners.q_learning.sequences import with_recurrent_states
from badger.rollouts.recording import Recording


def to_recording(agent: Agent, batch: SequenceBatch, rng: torch.Generator, *, experts: int, outputs: int) -> Recording:
    """The recording that replays a batch of sequences from their initial states.

    Args:
        agent: the agent.
        batch: sequences.
        rng: the generator of what an initial state draws and a sequence does not have, such as seeds of the core.
        experts: number of experts.
        outputs: numbers of an action.
    """
    obs, identity, assignment = batch.steps.obs, batch.identity, batch.assignment
    initial = agent.initial_state(obs[0], rng, experts, outputs)
    initial = agent.with_graph(initial._replace(identity=identity, assignment=assignment), batch.graph)
    return Recording(
        with_recurrent_states(batch.initial_states, initial),
        obs,
        batch.steps.episode_start,
        identity.expand(len(obs), *identity.shape),
        None if assignment is None else assignment.expand(len(obs), *assignment.shape),
        graph=None if batch.graph is None else batch.graph.expand(len(obs), *batch.graph.shape),
    )
