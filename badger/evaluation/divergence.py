"""What the memories of an agent that diverged hold: one batch of episodes, looked at step by step."""

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
    """The core's metrics (`Core.metrics`: norms, rates), means over some new episodes, at the first inner step at which
    one of them is not finite, or else at the last; empty for a core that tells none."""
    count = cap_episodes(EPISODES, agent.experts, MAX_TOTAL_EXPERTS)

    def watch(state: AgentState) -> dict[str, torch.Tensor]:
        return agent.core.metrics(state.core)

    with evaluation_mode(agent):
        carry = initial_carry(agent, task, min(count, task.num_episodes or count), rng)
        frames, _ = rollout(agent, task, carry, rng, policy, steps=task.steps, hook=watch)
    told = [{name: value.mean().item() for name, value in metrics.items()} for metrics in frames.hook_outputs]
    if not told[0]:
        return ""
    broken = (t for t, metrics in enumerate(told) if not all(map(math.isfinite, metrics.values())))
    at = next(broken, len(told) - 1)
    listed = ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in told[at].items())
    return f"the memory at inner step {at + 1} of {len(told)} of episodes played now: {listed}"
