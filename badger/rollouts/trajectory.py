"""The values of a rollout: `Carry`, the state between steps, and `Trajectory`, the recorded steps.

Shapes: T step, B episode, P agent of the environment.
"""

from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from badger.agent import Agent, AgentState
from experts import state as states
from experts.state import State
from tasks import EnvHandle, Step, Task

states.Leaf.register(EnvHandle)  # part of a task's state; registered here, as `tasks` does not import `experts`


class Carry(NamedTuple):
    """The state of a rollout between two steps.

    Args:
        env_state: the state of the task.
        step: the last result of the task.
        agent_state: the state of the agent.
        elapsed: steps since the start of the episode, for a task of fixed length; else 0.
        episode_start: rows in which an episode starts and the agent's state was reset.
        policy_state: the state of the policy, `()` of most; None before the first step.
    """

    env_state: Any
    step: Step
    agent_state: AgentState
    elapsed: int
    episode_start: Bool[Tensor, " B"]
    policy_state: State = None


class Trajectory(NamedTuple):
    """The recorded steps of a rollout, time first.

    Three masks:

    | mask | shape | True where |
    |---|---|---|
    | `valid` | (T, B) | the environment made a step; False in the one step after the end of an episode |
    | `present` | (B, P) each step | the agent observed this step |
    | `active` | (T, B, *P) | the action was used: valid; with several agents also present and not ended |

    Args:
        obs: the observations.
        output: the outputs of the agent.
        action: the actions that the policy chose from them.
        reward: the rewards after the actions.
        terminated: as in `Step`, after the actions.
        truncated: as in `Step`, after the actions.
        valid: the step is part of an episode.
        losses: auxiliary losses of the core.
        scores: of the task, after the actions.
        hook_outputs: results of the hook, T of them; empty without one.
        action_masks: the masks of the policy, T of them; empty if the task has none.
        present: agents that observed each step, T of them; empty if all did.
        active: the action was used by the environment.
        episode_start: an episode started with this observation, and the agent's state was reset.
        policy_states: the states of the policy before the actions, T of them; empty if it has none.
    """

    obs: Float[Tensor, "T B *EO"]
    output: Float[Tensor, "T B *PD"]
    action: Tensor
    reward: Float[Tensor, "T B *P"]
    terminated: Bool[Tensor, "T B *P"]
    truncated: Bool[Tensor, "T B *P"]
    valid: Bool[Tensor, "T B"]
    losses: dict[str, Float[Tensor, "T B"]]
    scores: dict[str, Float[Tensor, "T B"]]
    hook_outputs: list[Any]
    action_masks: list[Bool[Tensor, "B *A"]]
    present: list[Bool[Tensor, "B P"]]
    active: Bool[Tensor, "T B *P"]
    episode_start: Bool[Tensor, "T B"]
    policy_states: list[State]


def initial_carry(
    agent: Agent, task: Task, batch: int | Int[Tensor, " B"], rng: torch.Generator, *, experts: int | None = None
) -> Carry:
    """The start of a rollout: new episodes, and the initial state of the agent.

    Args:
        agent: the agent.
        task: the task.
        batch: number of sampled episodes; or indices of the episodes of a finite task.
        rng: the generator, whose device is that of the episodes.
        experts: E; None: as the agent was built.
    """
    env_state, step = task.reset_to(batch, rng) if isinstance(batch, Tensor) else task.reset(batch, rng)
    state = agent.initial_state(step.obs, rng, experts, task.action_space.size)
    return Carry(env_state, step, state, 0, every_row(step))


def detach_carry(carry: Carry) -> Carry:
    """The carry without its gradient history.

    Args:
        carry: of a rollout.
    """
    return carry._replace(
        agent_state=states.detach(carry.agent_state),
        env_state=states.detach(carry.env_state),
        step=carry.step._replace(obs=carry.step.obs.detach()),
        policy_state=states.detach(carry.policy_state),
    )


def first_episode_mask(trajectory: Trajectory) -> Bool[Tensor, "T B"]:
    """Mask of the steps of each row's first episode, including the last one.

    Args:
        trajectory: recorded steps.
    """
    ended = trajectory.terminated | trajectory.truncated
    done = ended.all(-1) if ended.dim() == 3 else ended
    return done.cumsum(0) - done.long() == 0


def stack_steps(parts: list[Tensor]) -> Tensor | None:
    """A field with a tensor for each step, such as `action_masks`, as one tensor, time first; None if it is empty.

    Args:
        parts: the tensors of T steps, or none.
    """
    return torch.stack(parts) if parts else None


def every_row(step: Step) -> Tensor:
    """(B,) a mask of all rows.

    Args:
        step: gives B and the device.
    """
    return torch.ones(step.obs.shape[0], dtype=torch.bool, device=step.obs.device)
