"""Members of a population that play the same episodes, each with its own weights, as one batched computation.

Shapes: M members, B episodes.
"""

from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.func import functional_call, vmap

from badger.agent import Agent
from badger.learners.episode_stream import episode_end_mask, pack_carry, unpack_carry
from badger.learners.evolution.low_rank import LowRankWeights
from badger.learners.evolution.perturbations import Dense, LowRank, Perturbations
from badger.learners.tensor_tree import tree_flatten, tree_unflatten
from badger.learners.update import BASE_METRICS, masked, metric_totals
from badger.moments import Summary
from badger.normalized_sense import Normalized, summarize_obs
from badger.policies.policies import Policy
from badger.rollouts.loop import rollout, with_policy_state
from badger.rollouts.trajectory import first_episode_mask, initial_carry
from tasks import Task

METRICS = BASE_METRICS | {"best_return"}
"""Names of the learner's own metrics, which no score may have."""


class Running(NamedTuple):
    """The running episodes of all members, as plain types and tensors with an axis of members first.

    Args:
        carry: the packed state of the rollout.
        over: the episode of a row has ended; the row is played on, and what it gets does not count.
        episode_reward: of each episode so far.
    """

    carry: Any
    over: Bool[Tensor, "M B"]
    episode_reward: Float[Tensor, "M B"]

    def select(self, members: slice) -> "Running":
        """The episodes of some members.

        Args:
            members: their indices.
        """
        spec, tensors = tree_flatten(self)
        return tree_unflatten(spec, [tensor[members] for tensor in tensors])


class Played(NamedTuple):
    """What members have played.

    Args:
        return_: mean over its episodes of what a member got in these steps.
        episode_return: the same since the episodes began.
        totals: sum and count of each score, (M, 2).
        obs: summary of the observations of a sense that keeps moments; else ().
        running: the episodes after these steps; None: over.
    """

    return_: Float[Tensor, " M"]
    episode_return: Float[Tensor, " M"]
    totals: dict[str, Float[Tensor, "M 2"]]
    obs: Summary | tuple[()]
    running: Running | None


class Members(nn.Module):
    """An agent, its task and its policy, to be played by members with perturbed weights.

    Args:
        agent: the agent, with the weights that are perturbed.
        task: the environment.
        policy: from outputs to actions.
        experts: number of experts; None: the agent's own.
        batch: B.
        learner: the learner, for error messages.
    """

    def __init__(self, agent: Agent, task: Task, policy: Policy, *, experts: int | None, batch: int, learner: object):
        super().__init__()
        self.agent, self.task, self.policy = agent, task, policy
        self.experts, self.batch, self.learner = experts, batch, learner

    def play(
        self,
        perturbations: Perturbations,
        pair: Int[Tensor, " M"],
        scale: Float[Tensor, " M"],
        running: Running | None,
        rng: torch.Generator,
        steps: int,
        *,
        last: bool,
    ) -> Played:
        """Plays some steps, with the same random numbers for all members.

        Args:
            perturbations: of each parameter.
            pair: the perturbation of each member.
            scale: by which it is multiplied.
            running: the episodes to continue; None: new ones.
            rng: the generator of all random choices.
            steps: of the environment.
            last: the episodes are not continued.
        """
        parameters = dict(self.agent.named_parameters(prefix="agent"))
        noise = {name: one.scaled(pair, scale) for name, one in zip(parameters, perturbations, strict=True)}
        factors = {name: one for name, one in noise.items() if isinstance(one, LowRank)}
        dense = {name: parameters[name] + one.noise for name, one in noise.items() if isinstance(one, Dense)}
        spec, tensors = tree_flatten(running)
        next_spec: list[Any] = []

        def play_member(weights: dict[str, Tensor], factors: dict[str, LowRank], tensors: list[Tensor]) -> Any:
            of_parameter = {parameters[name]: one for name, one in factors.items()}
            with LowRankWeights(of_parameter) if of_parameter else nullcontext():
                played = functional_call(self, weights, (tree_unflatten(spec, tensors), rng, steps, last))
            running_spec, tensors = tree_flatten(played.running)
            next_spec.append(running_spec)
            return played._replace(running=tensors)

        played = vmap(play_member, randomness="same")(dense, factors, tensors)
        return played._replace(running=tree_unflatten(next_spec[0], played.running))

    def forward(self, running: Running | None, rng: torch.Generator, steps: int, last: bool) -> Played:
        """The steps of one member, without the axis of members.

        Args:
            running: the episodes to continue; None: new ones.
            rng: the generator of all random choices.
            steps: of the environment.
            last: the episodes are not continued.
        """
        agent, task = self.agent, self.task
        start = rng if running is None else rng.clone_state()  # of episodes that only give the types of the state
        carry = with_policy_state(
            initial_carry(agent, task, self.batch, start, experts=self.experts), self.policy, start
        )
        if running is None:
            over, reward = torch.zeros_like(carry.episode_start), torch.zeros_like(carry.step.reward)
        else:
            carry, over, reward = unpack_carry(running.carry, carry), running.over, running.episode_reward
        keep_obs = isinstance(agent.sense, Normalized)
        trajectory, carry = rollout(agent, task, carry, rng, self.policy, steps=steps, keep_obs=keep_obs)
        mask = trajectory.active & first_episode_mask(trajectory) & ~over
        totals = metric_totals([masked(trajectory, mask)], task, self.learner, METRICS)
        got = torch.where(mask, trajectory.reward, 0).sum(0)
        over, reward = over | episode_end_mask(trajectory, mask).any(0), reward + got
        running = None if last else Running(pack_carry(carry), over, reward)
        return Played(got.mean(), reward.mean(), totals, summarize_obs(agent, trajectory.obs, mask), running)
