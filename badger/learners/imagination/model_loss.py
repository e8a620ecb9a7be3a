"""The loss of a world model on replayed sequences: that of its core, and of the reward and the end that it predicts.

Shapes: T step, T1 = T + 1 observations, B sequence.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from jaxtyping import Bool
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from badger import distributed
from badger.agent import Agent
from badger.learners import returns
from badger.learners.imagination.heads import Heads
from badger.learners.q_learning.replay import SequenceBatch, Transitions
from badger.learners.q_learning.replayed import to_recording
from badger.rollouts.recording import core_inputs
from experts import state as states
from experts.state import State
from experts.world_model import WorldModel
from tasks import Task


class ModelWeights(NamedTuple):
    """Weights in the loss of a world model; a term without a weight is not computed.

    Args:
        auxiliary: of the core's losses by name.
        reward: of the reward's.
        continues: of the end's.
    """

    auxiliary: Mapping[str, float]
    reward: float
    continues: float


def model_loss(
    agent: Agent, task: Task, heads: Heads, batch: SequenceBatch, rng: torch.Generator, weights: ModelWeights
) -> tuple[State, dict[str, Tensor]]:
    """The states of the core at all observations (T1 B), detached, and the loss with its terms.

    Reward and end are predicted from the state that they led to, which has observed them at most by what follows.

    Args:
        agent: its core is a `WorldModel`.
        task: gives the action space.
        heads: predict reward and end.
        batch: replayed sequences.
        rng: the generator of the core's random numbers.
        weights: of the terms.
    """
    core = agent.core
    assert isinstance(core, WorldModel)
    recording = to_recording(agent, batch, rng, experts=1, outputs=task.action_space.size)
    every, _ = core.observe(core_inputs(agent, recording), recording.initial_state.core)
    flat, observed = states.map(lambda part: part.flatten(0, 1), every), observed_mask(batch.steps)
    steps = batch.steps.map(lambda part: part[:-1])
    count, count_steps = (mask.sum().to(steps.reward.dtype) for mask in (observed, steps.valid))
    distributed.all_reduce_mean_([count, count_steps])  # before the backward pass: processes may differ
    loss, terms = torch.zeros_like(count), {}
    for name, value in core.losses(flat).items():
        if name in weights.auxiliary:
            loss = loss + weights.auxiliary[name] * returns.masked_mean(value.view_as(observed), observed, count)
    features = core.features(every)[1:].squeeze(2)  # of the states that the steps led to
    if weights.reward:
        error = heads.error(heads.reward, features, steps.reward)
        terms["reward_loss"] = returns.masked_mean(error, steps.valid, count_steps)
        loss = loss + weights.reward * terms["reward_loss"]
    if weights.continues:
        goes_on = heads.continues(features).squeeze(-1)
        error = binary_cross_entropy_with_logits(goes_on, (~steps.terminated).to(goes_on), reduction="none")
        terms["continue_loss"] = returns.masked_mean(error, steps.valid, count_steps)
        loss = loss + weights.continues * terms["continue_loss"]
    return states.detach(flat), {"loss": loss, **terms}


def observed_mask(steps: Transitions) -> Bool[Tensor, "T1 B"]:
    """The observations that are none of padding: of each step, and the one after it.

    Args:
        steps: of replayed sequences.
    """
    return torch.cat([steps.valid[:1], steps.valid[:-1]])


def check_weights(reward_weight: float, continue_weight: float) -> None:
    """Refuses weights below 0.

    Args:
        reward_weight: of the reward's loss.
        continue_weight: of the end's loss.

    Raises:
        ValueError: names the first of them.
    """
    for name, weight in {"reward_weight": reward_weight, "continue_weight": continue_weight}.items():
        if not weight >= 0:
            raise ValueError(f"{name}={weight}, want at least 0")
