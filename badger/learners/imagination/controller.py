"""The controller of World Models: an output head that CMA-ES evolves, in the environment or in imagination.

Shapes: P members of the population, M members of this process, b episodes of a member, T step.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from badger.agent import Agent
from badger.learners.evolution.member_act import member_agent
from badger.learners.imagination.heads import Heads
from badger.learners.imagination.imagined import imagine, step_weights
from badger.learners.update import masked, metric_totals
from badger.policies.policies import Policy
from badger.rollouts.loop import rollout
from badger.rollouts.trajectory import first_episode_mask, initial_carry
from experts import state as states
from experts.state import State
from tasks import Task

MOST_NUMBERS = 2000  # of a controller; the covariance matrix has as many rows and columns


class Played(NamedTuple):
    """What the members of this process have played.

    Args:
        return_: mean over its episodes of each member.
        steps: of the environment, of all of them.
        totals: sum and count (2,) of each score of the task.
    """

    return_: Float[Tensor, " M"]
    steps: Float[Tensor, ""]
    totals: dict[str, Tensor]


@torch.no_grad()
def play_members(
    agent: Agent,
    task: Task,
    members: Float[Tensor, "M n"],
    policy: Policy,
    rng: torch.Generator,
    *,
    episodes: int,
    learner: object,
    reserved: frozenset[str],
) -> Played:
    """Each member plays some episodes, all at once: rows of one batch, which share sense and core.

    Args:
        agent: with whose sense and core they play.
        task: the environment.
        members: weights of the output head.
        policy: of their actions.
        rng: the generator of the episodes.
        episodes: b.
        learner: the learner, for error messages.
        reserved: names of its metrics.
    """
    acting, rows = member_agent(agent, members), len(members) * episodes
    carry = initial_carry(acting, task, rows, rng)
    trajectory, _ = rollout(acting, task, carry, rng, policy, steps=task.steps, first_episodes=True, keep_obs=False)
    mask = trajectory.valid & first_episode_mask(trajectory)
    totals = metric_totals([masked(trajectory, mask)], task, learner, reserved)
    return_ = torch.where(mask, trajectory.reward, 0).sum(0)
    return Played(return_.view(-1, episodes).mean(-1), mask.sum().to(return_), totals)


@torch.no_grad()
def imagine_members(
    agent: Agent,
    task: Task,
    members: Float[Tensor, "M n"],
    policy: Policy,
    rng: torch.Generator,
    start: State,
    heads: Heads,
    *,
    steps: int,
) -> Float[Tensor, " M"]:
    """The return that each member expects in imagination: rewards, each by the probability that it is reached.

    Args:
        agent: its core is the model.
        task: gives the action space.
        members: weights of the output head.
        policy: of their actions.
        rng: the generator of the policy.
        start: states of the core (b, 1), from which each member starts, with the same random numbers.
        heads: predict reward and end.
        steps: T.
    """
    every = states.map(lambda part: part.repeat(len(members), *[1] * (part.dim() - 1)), start)
    acting = member_agent(agent, members)
    features = imagine(acting, task, every, None, rng, steps=steps, policy=policy).features
    reward = heads.read(heads.reward, features[1:])
    weights = step_weights(torch.ones_like(reward[0]), torch.sigmoid(heads.continues(features[1:]).squeeze(-1)))
    return (weights * reward).sum(0).view(len(members), -1).mean(-1)


def controller_numbers(act: nn.Module) -> Float[Tensor, " n"]:
    """The weights of an output head, side by side.

    Args:
        act: the head.

    Raises:
        ValueError: too many for CMA-ES.
    """
    numbers = nn.utils.parameters_to_vector(act.parameters()).detach()
    if len(numbers) > MOST_NUMBERS:
        raise ValueError(
            f"the agent acts by {len(numbers):,} weights, and CMA-ES, whose covariance matrix has the square of that, "
            f"evolves at most {MOST_NUMBERS:,}: want a smaller core (--core.hidden-size)"
        )
    return numbers


@torch.no_grad()
def set_controller(act: nn.Module, numbers: Float[Tensor, " n"]) -> None:
    """Sets the weights of an output head.

    Args:
        act: the head.
        numbers: as `controller_numbers` returns them.
    """
    parameters = list(act.parameters())
    for parameter, part in zip(parameters, numbers.split([one.numel() for one in parameters]), strict=True):
        parameter.copy_(part.view_as(parameter))
