"""Diagnosis of a diverged agent: metrics of its memory in one batch of episodes, step by step."""

import math
from collections.abc import Mapping

import torch

from badger.agent import Agent, AgentState
from badger.evaluation.default_size import SHORTEST_LIMIT, with_limit
from badger.evaluation.evaluate import evaluation_mode
from badger.evaluation.inspection import inspected_episodes
from badger.learners.requirements import requirement
from badger.policies.policies import Policy, identity_policy
from badger.rollouts.loop import rollout
from badger.rollouts.trajectory import initial_carry
from tasks import Task

RETURNS = ("return", "running_return", "ended_return")  # metrics of learners
LARGE_RETURN = math.sqrt(torch.finfo(torch.float32).max)  # its square, an error of the value, overflows


def diagnose_divergence(agent: Agent, task: Task, rng: torch.Generator, policy: Policy = identity_policy) -> str:
    """Describes the core's metrics at the first step at which one is not finite, else at the last step.

    The metrics (`Core.metrics`: norms, rates) are means over new episodes; the text is empty for a core without any.

    Args:
        agent: the agent.
        task: the task.
        rng: the generator.
        policy: of the learner.
    """

    def metrics_of(state: AgentState) -> dict[str, torch.Tensor]:
        return agent.core.metrics(state.core)

    count, task = inspected_episodes(agent, task), with_limit(task, SHORTEST_LIMIT)
    with evaluation_mode(agent):
        carry = initial_carry(agent, task, count, rng)
        trajectory, _ = rollout(
            agent, task, carry, rng, policy, steps=task.steps, first_episodes=True, keep_obs=False, hook=metrics_of
        )
    steps = [{name: x.mean().item() for name, x in metrics.items()} for metrics in trajectory.hook_outputs]
    if not steps[0]:
        return ""
    nonfinite = (t for t, metrics in enumerate(steps) if not all(map(math.isfinite, metrics.values())))
    index = next(nonfinite, len(steps) - 1)
    values = ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in steps[index].items())
    return f"the memory at inner step {index + 1} of {len(steps)}, in new episodes: {values}"


def divergence_advice(metrics: Mapping[str, float], learner: object) -> str:
    """What usually fixes a training that has diverged: other settings, or numbers of the task that overflow.

    Rewards that carry a gradient depend on the agent, so that they are no cause.

    Args:
        metrics: of the outer step that was not finite.
        learner: that made it.
    """
    if not all(math.isfinite(value) for name, value in metrics.items() if name.startswith("normalizer/obs")):
        return (
            "The observations are the cause: their variance is not finite in float32. Scale them in the environment, "
            "by gymnasium.wrappers.TransformObservation, or leave them as they are, by --no-normalize-obs."
        )
    scale = getattr(learner, "reward_scale", 1.0)
    returns = [abs(value) for name, value in metrics.items() if name in RETURNS]
    largest = max((value for value in returns if not math.isnan(value)), default=0.0)
    if requirement(learner, "needs_differentiable") or largest * scale < LARGE_RETURN:
        return "A lower learning rate, a smaller clip or shorter episodes usually fix it."
    remedy = "--learner.reward-scale" if hasattr(learner, "reward_scale") else "a factor in the environment"
    return (
        f"The rewards are the cause: a return of {largest:.3g} has no square in float32. Scale rewards to about 1, by "
        f"{remedy}."
    )
