"""Diagnosis of a diverged agent: metrics of its memory in one batch of episodes, step by step."""

import math

import torch

from badger.agent import Agent, AgentState
from badger.evaluation.evaluate import cap_episodes, evaluation_mode
from badger.evaluation.inspection import EPISODES, MAX_TOTAL_EXPERTS
from badger.policies.policies import Policy, identity_policy
from badger.rollouts.loop import rollout
from badger.rollouts.trajectory import initial_carry
from tasks import Task


def diagnose_divergence(agent: Agent, task: Task, rng: torch.Generator, policy: Policy = identity_policy) -> str:
    """Describes the core's metrics at the first step at which one is not finite, else at the last step.

    The metrics (`Core.metrics`: norms, rates) are means over new episodes; the text is empty for a core without any.

    Args:
        agent: the agent.
        task: the task.
        rng: the generator.
        policy: of the learner.
    """
    count = cap_episodes(EPISODES, agent.experts, MAX_TOTAL_EXPERTS)

    def metrics_of(state: AgentState) -> dict[str, torch.Tensor]:
        return agent.core.metrics(state.core)

    with evaluation_mode(agent):
        carry = initial_carry(agent, task, min(count, task.num_episodes or count), rng)
        trajectory, _ = rollout(agent, task, carry, rng, policy, steps=task.steps, hook=metrics_of)
    steps = [{name: x.mean().item() for name, x in metrics.items()} for metrics in trajectory.hook_outputs]
    if not steps[0]:
        return ""
    nonfinite = (t for t, metrics in enumerate(steps) if not all(map(math.isfinite, metrics.values())))
    index = next(nonfinite, len(steps) - 1)
    values = ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in steps[index].items())
    return f"the memory at inner step {index + 1} of {len(steps)}, in new episodes: {values}"
