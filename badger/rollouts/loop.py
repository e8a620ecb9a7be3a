"""The rollout loop: an agent acts in a batch of episodes of a task, step by step.

Shapes: T step, B episode, P agent of the environment.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from badger.agent import Agent, AgentState
from badger.policies.policies import Policy, identity_policy, initial_policy_state
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
    first_episodes: bool = False,
    keep_obs: bool = True,
    hook: Callable[[AgentState], Any] | None = None,
    on_step: Callable[[], Any] | None = None,
) -> tuple[Trajectory, Carry]:
    """Runs an agent in a task for a number of steps, with automatic resets of finished episodes.

    After the end of an episode the agent still observes its last state, whose value bootstraps a truncation; the action
    is ignored and the step is not valid. The next step starts a new episode and resets the agent's state. A task of
    fixed length ends at a step known on the host, and starts a new episode without such an invalid step. In an
    environment of several agents, the experts of absent agents are masked out.

    Args:
        agent: the agent.
        task: the task.
        carry: the state to start from, which is not modified: it can be used again.
        rng: the generator of all random choices.
        policy: from outputs to actions.
        steps: T, or its maximum.
        keep_state: the agent's state is not reset between episodes.
        first_episodes: ends once the first episode of every row has ended, for an evaluation. External environments
            rest after it; rows of other tasks start further episodes until then.
        keep_obs: False: `Trajectory.obs` has no numbers, so that long evaluations with images need no memory for them.
        hook: called with the agent's state after each step; its results are `Trajectory.hook_outputs`.
        on_step: called after each step, for a progress bar.

    Returns:
        The recorded steps, and the state after the last one.

    Raises:
        ValueError: steps < 1.
    """
    if steps < 1:
        raise ValueError(f"steps={steps}, want at least 1")
    carry = with_policy_state(carry, policy, rng)
    recorded: list[tuple] = []
    hook_outputs: list[Any] = []
    rollout_agent = try_open_loop(agent, task, carry, rng, steps) if hook is None else agent
    running, rests = every_row(carry.step), first_episodes and task.external
    for _ in range(steps):
        carry = _reset_fixed_length(agent, task, carry, policy, rng, keep_state)
        timestep, episode_start, lesions = carry.step, carry.episode_start, carry.agent_state.present
        output, state = rollout_agent(timestep.obs, carry.agent_state.with_active_agents(timestep.present), rng)
        policy_state = carry.policy_state
        action, next_policy_state = policy(output, timestep.action_mask, policy_state, rng)
        next_state = state._replace(present=lesions)  # absence in the environment is no lesion
        carry = carry._replace(agent_state=next_state, policy_state=next_policy_state)
        carry, valid = _advance(agent, task, carry, action, policy, rng, keep_state, rests)
        losses = agent.core.losses(state.core)
        recorded.append((timestep, output, action, valid, losses, episode_start, carry.step, policy_state))
        if not keep_obs:
            recorded[-1] = tuple(_without_obs(part) for part in recorded[-1])
        if hook is not None:
            hook_outputs.append(hook(state))
        if on_step is not None:
            on_step()
        if first_episodes and not task.fixed_length:
            running = running & ~_is_done(carry.step)
            if not running.any():
                break
    return _stack(recorded, hook_outputs), carry


def with_policy_state(carry: Carry, policy: Policy, rng: torch.Generator) -> Carry:
    """The carry with the policy's initial state, where no step was made yet.

    Args:
        carry: of a rollout.
        policy: its policy.
        rng: the generator of a random state.
    """
    if carry.policy_state is not None:
        return carry
    return carry._replace(policy_state=initial_policy_state(policy, carry.step.reward, rng))


def _without_obs(part: Any) -> Any:
    """A step without the numbers of its observation, (B, *P, 0); other parts of a record as they are."""
    return part._replace(obs=part.obs[..., :0].clone()) if isinstance(part, Step) else part


def _reset_fixed_length(
    agent: Agent, task: Task, carry: Carry, policy: Policy, rng: torch.Generator, keep_state: bool
) -> Carry:
    """Starts new episodes where the task has a fixed length and the last episodes are over."""
    if not task.fixed_length or carry.elapsed < task.steps:
        return carry
    all_rows = every_row(carry.step)
    env_state, step = task.reset(len(all_rows), rng)
    state = carry.agent_state if keep_state else agent.reset(carry.agent_state, all_rows, step.obs, rng)
    policy_state = initial_policy_state(policy, step.reward, rng)
    return Carry(env_state, step, state, 0, ~all_rows if keep_state else all_rows, policy_state)


def _advance(
    agent: Agent, task: Task, carry: Carry, action: Tensor, policy: Policy, rng: torch.Generator, keep_state: bool,
    rests: bool,
) -> tuple[Carry, Tensor]:  # fmt: skip
    """One step of the environment, and its valid rows; in the others the episode had ended.

    There a new one starts, or, where the environment `rests`, its last step is repeated.
    """
    env_state, step = task.step(carry.env_state, action, rng)
    if task.fixed_length:
        all_rows = every_row(step)
        elapsed = carry.elapsed + 1
        return carry._replace(env_state=env_state, step=step, elapsed=elapsed, episode_start=~all_rows), all_rows
    done = _is_done(carry.step)
    if rests or known_empty(done):
        none = torch.zeros_like(done)
        return carry._replace(env_state=env_state, step=step, elapsed=0, episode_start=none), ~done
    env_state, reset_step = task.restart(env_state, done, rng)
    step = _merge_reset(done, reset_step, step)
    state = carry.agent_state if keep_state else agent.reset(carry.agent_state, done, step.obs, rng)
    policy_state = states.where(done, initial_policy_state(policy, step.reward, rng), carry.policy_state)
    return Carry(env_state, step, state, 0, torch.zeros_like(done) if keep_state else done, policy_state), ~done


def known_empty(mask: Tensor) -> bool:
    """Whether a mask is known to be empty; False on a GPU, where the test would synchronize.

    Args:
        mask: any mask.
    """
    return mask.device.type == "cpu" and not functorch_active() and not mask.any()


def _is_done(step: Step) -> Tensor:
    """(B,) mask of finished episodes: those in which all agents have ended."""
    done = step.terminated | step.truncated
    return done if done.dim() == 1 else done.all(-1)


def _merge_reset(mask: Tensor, reset_step: Step, step: Step) -> Step:
    """The first step of new episodes in the rows of the mask, with NaN as scores."""
    scores = {name: torch.where(mask, torch.nan, value) for name, value in step.scores.items()}
    fields = {
        name: states.where(mask, getattr(reset_step, name), getattr(step, name))
        for name in Step._fields
        if name != "scores"
    }
    return Step(**fields, scores=scores)


def _active_mask(timestep: Step, valid: Tensor) -> Tensor:
    """(B,), or (B, P): mask of the actions that the environment used."""
    if timestep.reward.dim() == 1:
        return valid
    active = valid.unsqueeze(-1) & ~(timestep.terminated | timestep.truncated)
    return active if timestep.present is None else active & timestep.present


def _stack(recorded: list[tuple], hook_outputs: list[Any]) -> Trajectory:
    timesteps, output, action, valid, losses, episode_start, results, policy_states = zip(*recorded, strict=True)
    return Trajectory(
        torch.stack([step.obs for step in timesteps]),
        torch.stack(output),
        torch.stack(action),
        torch.stack([step.reward for step in results]),
        torch.stack([step.terminated for step in results]),
        torch.stack([step.truncated for step in results]),
        torch.stack(valid),
        {name: torch.stack([loss[name] for loss in losses]) for name in losses[0]},
        {name: torch.stack([step.scores[name] for step in results]) for name in results[0].scores},
        hook_outputs,
        [step.action_mask for step in timesteps if step.action_mask is not None],
        [step.present for step in timesteps if step.present is not None],
        torch.stack([_active_mask(step, mask) for step, mask in zip(timesteps, valid, strict=True)]),
        torch.stack(episode_start),
        [] if isinstance(policy_states[0], tuple) and not policy_states[0] else list(policy_states),
    )
