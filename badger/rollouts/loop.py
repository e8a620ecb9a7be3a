"""The inner loop, written once: an agent and a task, step by step.

Shapes: T step, B episode, P agent of the world.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from badger.agent import Agent, AgentState
from badger.policies.policies import Policy, identity_policy
from badger.rollouts.open_loop import try_open_loop
from badger.rollouts.trajectory import Carry, Trajectory, every_row
from experts import state as states
from experts.torch_internals import functorch_active
from tasks import Step, Task


def rollout(
    agent: Agent,
    task: Task,
    carry: Carry,
    rng: torch.Generator,
    policy: Policy = identity_policy,
    *,
    steps: int,
    keep_state: bool = False,
    hook: Callable[[AgentState], Any] | None = None,
) -> tuple[Trajectory, Carry]:
    """`steps` steps on from `carry`, which is a value: the same one may be rolled out again.

    When an episode ends, the agent still sees the final observation (its value bootstraps a truncation); that action
    is ignored and the frame is not valid; the next step opens a new episode, and the agent's state is reset with it
    unless `keep_state` (a lifetime of several episodes). A task of fixed length ends at a step known on the host: it
    starts anew without such a frame. In a world of several agents the experts of one who is not there have no part in
    the step.

    Raises:
        ValueError: steps < 1.
    """
    if steps < 1:
        raise ValueError(f"steps={steps}, want at least 1")
    frames: list[tuple] = []
    watched: list[Any] = []
    rollout_agent = try_open_loop(agent, task, carry, rng, steps) if hook is None else agent
    for _ in range(steps):
        carry = _reset_fixed_length(agent, task, carry, rng, keep_state)
        timestep, begun, absent = carry.step, carry.episode_start, carry.agent_state.present
        output, state = rollout_agent(timestep.obs, carry.agent_state.with_active_agents(timestep.present), rng)
        action = policy(output, timestep.action_mask, rng)
        after = state._replace(present=absent)  # who is not there in the world has no lesion
        carry, valid = _advance(agent, task, carry._replace(agent_state=after), action, rng, keep_state)
        frames.append((timestep, output, action, valid, agent.core.losses(state.core), begun, carry.step))
        if hook is not None:
            watched.append(hook(state))
    return _stacked(frames, watched), carry


def _reset_fixed_length(agent: Agent, task: Task, carry: Carry, rng: torch.Generator, keep_state: bool) -> Carry:
    """A new episode, where the task's fixed length says that the last one is over."""
    if not task.fixed_length or carry.elapsed < task.steps:
        return carry
    everyone = every_row(carry.step)
    world, step = task.reset(len(everyone), rng)
    state = carry.agent_state if keep_state else agent.reset(carry.agent_state, everyone, step.obs, rng)
    return Carry(world, step, state, 0, ~everyone if keep_state else everyone)


def _advance(
    agent: Agent, task: Task, carry: Carry, action: Tensor, rng: torch.Generator, keep_state: bool
) -> tuple[Carry, Tensor]:
    """The world's answer, and in which rows it was one; elsewhere the episode had ended, and a new one begins."""
    world, step = task.step(carry.env_state, action, rng)
    if task.fixed_length:
        everyone = every_row(step)
        return Carry(world, step, carry.agent_state, carry.elapsed + 1, ~everyone), everyone
    ended = _is_done(carry.step)
    if known_empty(ended):
        return Carry(world, step, carry.agent_state, 0, ended), ~ended
    world, opened = task.restart(world, ended, rng)
    step = _merge_reset(ended, opened, step)
    state = carry.agent_state if keep_state else agent.reset(carry.agent_state, ended, step.obs, rng)
    return Carry(world, step, state, 0, torch.zeros_like(ended) if keep_state else ended), ~ended


def known_empty(mask: Tensor) -> bool:
    """Whether the mask is known to be empty: a look is worth it on the host, and would be waited for on a device."""
    return mask.device.type == "cpu" and not functorch_active() and not mask.any()


def _is_done(step: Step) -> Tensor:
    """(B,) episodes that are over: for all agents, where each has an end of its own."""
    over = step.terminated | step.truncated
    return over if over.dim() == 1 else over.all(-1)


def _merge_reset(mask: Tensor, opened: Step, step: Step) -> Step:
    """The opening of new episodes in the rows of mask; scores stay those of the step, and are not due there."""
    scores = {name: torch.where(mask, torch.nan, value) for name, value in step.scores.items()}
    told = {
        name: states.where(mask, getattr(opened, name), getattr(step, name))
        for name in Step._fields
        if name != "scores"
    }
    return Step(**told, scores=scores)


def _active_mask(seen: Step, valid: Tensor) -> Tensor:
    """(B,), or (B, P): whose action the world took."""
    if seen.reward.dim() == 1:
        return valid
    going = valid.unsqueeze(-1) & ~(seen.terminated | seen.truncated)
    return going if seen.present is None else going & seen.present


def _stacked(frames: list[tuple], watched: list[Any]) -> Trajectory:
    seen, output, action, valid, losses, begun, steps = zip(*frames, strict=True)
    return Trajectory(
        torch.stack([step.obs for step in seen]),
        torch.stack(output),
        torch.stack(action),
        torch.stack([step.reward for step in steps]),
        torch.stack([step.terminated for step in steps]),
        torch.stack([step.truncated for step in steps]),
        torch.stack(valid),
        {name: torch.stack([loss[name] for loss in losses]) for name in losses[0]},
        {name: torch.stack([step.scores[name] for step in steps]) for name in steps[0].scores},
        watched,
        [step.action_mask for step in seen if step.action_mask is not None],
        [step.present for step in seen if step.present is not None],
        torch.stack([_active_mask(step, took) for step, took in zip(seen, valid, strict=True)]),
        torch.stack(begun),
    )
