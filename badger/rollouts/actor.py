"""A trained agent that acts in an environment outside of a rollout: observations in, actions out, in NumPy.

Shapes: B environment, O observation, A options of the action mask.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import pad

from badger.agent import Agent, AgentState
from badger.policies.policies import Policy, initial_policy_state
from badger.rng import seeded_generator
from experts import state as states
from experts.state import State
from tasks import PreviousActionReward, Task, num_options
from tasks.wrappers.previous_action_reward import encode_action


class ActorState(NamedTuple):
    """What an actor keeps from one step of an episode to the next.

    Args:
        agent: the state of the agent.
        policy: that of the policy that samples, `()` of most.
        previous: the last action as the agent observes it, and whether there was one, of an agent that observes its
            last action and reward; else None.
    """

    agent: AgentState
    policy: State
    previous: Float[Tensor, "B A1"] | None = None


class Actor:
    """An agent with its policies, called like a model of Stable-Baselines3.

    The memory of the agent is a value that `predict` takes and returns: pass the state of the last call, or None where
    an episode starts. The random numbers, of sampled actions and of the experts' identities, come from one generator:
    the same seed and the same calls give the same actions.

    An agent that observes its last action and reward (`tasks.PreviousActionReward`) is given what the environment
    returns: the observation, and the reward of its last action. The actor keeps the action.

    Args:
        agent: the agent, which is put into evaluation mode.
        task: the task that it was trained in; says how observations and actions of its environment are read.
        deterministic: the policy of the most likely actions.
        sampled: the policy that samples; None: the agent has none.
        seed: of all random numbers.
    """

    def __init__(self, agent: Agent, task: Task, deterministic: Policy, sampled: Policy | None, *, seed: int = 0):
        self.agent, self.task = agent.eval(), task
        self.policies = {True: deterministic, False: sampled}
        self.rng = seeded_generator(seed, next(agent.parameters()).device)
        example = torch.zeros(1, task.obs_size) if task.external else task.reset(1, seeded_generator(0, "cpu"))[1].obs
        agents = () if task.agents is None or not task.external else (task.agents,)
        self.obs_shape = (*agents, *example.shape[1:])
        self.env_task = task.task if isinstance(task, PreviousActionReward) and task.agents is None else task

    @torch.no_grad()
    def predict(
        self,
        obs: Any,
        state: ActorState | None = None,
        episode_start: Any = None,
        deterministic: bool = True,
        action_mask: Any = None,
        reward: Any = None,
    ) -> tuple[Any, ActorState]:
        """The action for an observation, or the actions for a batch of them, and the state after it.

        Args:
            obs: of one environment, or of B of them, as the environment returns it.
            state: from the last call; None: all episodes start.
            episode_start: (B,), or one value, True where an episode starts, whose state is reset; None: nowhere.
            deterministic: the most likely action; False: a sampled one.
            action_mask: allowed actions, as the environment tells them, or one for each of the B environments; None:
                the mask in the observation, if it has one, or all.
            reward: after the last action, of one environment or (B,), for an agent that observes it; not where all
                episodes start.

        Raises:
            ValueError: an observation or a mask of another shape, another number of rows than the state has, no reward
                for an agent that observes it, or `deterministic=False` of an agent that does not sample.
        """
        policy = self.policies[bool(deterministic)]
        if policy is None:
            raise ValueError("deterministic=False: the actions of this agent are not sampled; leave deterministic out")
        batch, single = self._read(obs)
        state = self._reset(batch, state, episode_start)
        mask = self._read_mask(obs, action_mask, batch, single)
        if batch.shape[1:] != self.obs_shape:
            batch = self._with_previous(batch, state, reward)
        output, agent_state = self.agent(batch, state.agent, self.rng)
        if deterministic:
            (action, _), policy_state = policy(output, mask, (), self.rng), state.policy
        else:
            action, policy_state = policy(output, mask, state.policy, self.rng)
        actions = self.task.decode_action(action)
        return (actions[0] if single else actions), ActorState(agent_state, policy_state, self._encode(action, batch))

    def _read(self, obs: Any) -> tuple[Tensor, bool]:
        """The observations (B, *obs_shape), and whether there was a single one."""
        if isinstance(obs, Mapping) and self.task.agents is not None:
            raise ValueError(
                f"obs is a dict of {', '.join(map(str, obs))}, want an array of the {self.task.agents} agents, "
                f"{self.obs_shape}"
            )
        whole = self.env_task is self.task or _last_size(obs) == self.obs_shape[-1]
        task, want = self.task, self.obs_shape
        if not whole:
            task, want = self.env_task, (*self.obs_shape[:-1], self.env_task.obs_size)
        array = np.asarray(task.encode_obs(obs))
        if array.shape not in (want, (len(array) if array.ndim else 0, *want)):
            raise ValueError(f"obs has the shape {array.shape}, want {want}, or (batch, {', '.join(map(str, want))})")
        single = array.ndim == len(self.obs_shape)
        batch = torch.as_tensor(array[None] if single else array, dtype=self.task.dtype)
        return batch.to(next(self.agent.parameters()).device), single

    def _read_mask(self, obs: Any, action_mask: Any, batch: Tensor, single: bool) -> Tensor | None:
        """The allowed actions (B, *obs_shape[:-1], A); None: all."""
        mask = self.task.encode_action_mask(obs, action_mask, None if single else len(batch))
        if mask is None:
            return None
        agents = () if self.task.agents is None else (self.task.agents,)
        want = (*batch.shape[: 0 if single else 1], *agents, num_options(self.task.action_space))
        if mask.shape != want:
            raise ValueError(f"action_mask has the shape {mask.shape}, want {want}, a value for each option")
        rows = torch.as_tensor(mask, device=batch.device).bool()
        return rows.unsqueeze(0) if single else rows

    def _reset(self, batch: Tensor, state: ActorState | None, episode_start: Any) -> ActorState:
        """The state before these observations."""
        if state is None:
            agent_state = self.agent.initial_state(batch, self.rng, None, self.task.action_space.size)
            size = self.task.action_space.size + 1
            previous = None if self.env_task is self.task else batch.new_zeros(len(batch), size)
            return ActorState(agent_state, self._initial_policy_state(batch), previous)
        if len(state.agent.y) != len(batch):
            raise ValueError(
                f"obs has {len(batch)} rows, want those of state, {len(state.agent.y)}; state=None starts new episodes"
            )
        if episode_start is None:
            return state
        rows = torch.as_tensor(np.asarray(episode_start), device=batch.device).bool().expand(len(batch))
        if not rows.any():
            return state
        policy_state = states.where(rows, self._initial_policy_state(batch), state.policy)
        previous = None if state.previous is None else torch.where(rows.unsqueeze(-1), 0, state.previous)
        return ActorState(self.agent.reset(state.agent, rows, batch, self.rng), policy_state, previous)

    def _encode(self, action: Tensor, like: Tensor) -> Tensor | None:
        """The action as the agent observes it next, and that there was one; None for an agent that does not."""
        if self.env_task is self.task:
            return None
        return pad(encode_action(self.task.action_space, action).to(like), (0, 1), value=1.0)

    def _with_previous(self, batch: Tensor, state: ActorState, reward: Any) -> Tensor:
        """The observations of the environment with last action, last reward and the flag of an end, which is 0."""
        assert state.previous is not None
        acted = state.previous[:, -1]
        if reward is None and acted.any():
            raise ValueError(
                "reward=None: this agent observes its last reward; want actor.predict(obs, state, reward=reward)"
            )
        given = torch.as_tensor(np.asarray(0.0 if reward is None else reward), dtype=batch.dtype).to(batch.device)
        parts = [batch, state.previous[:, :-1], (acted * given).unsqueeze(-1), torch.zeros_like(acted).unsqueeze(-1)]
        return torch.cat(parts, -1)

    def _initial_policy_state(self, batch: Tensor) -> State:
        policy = self.policies[False]
        return () if policy is None else initial_policy_state(policy, batch[..., 0], self.rng)

    def export(self, batch: int = 1) -> tuple[torch.export.ExportedProgram, tuple[Tensor, ...]]:
        """The agent's step as a `torch.export` program, `(obs, *state) -> (output, *state)`, and a first state.

        The state is a tuple of tensors. The output has logits, or means and deviations, and a value where the agent has
        a critic. Programs can be saved by `torch.export.save`; the number of rows is fixed. Cores whose episode memory
        is an append-only log are refused: a log is no tensor that could be an input of a program. Random choices of the
        bus, as those of `comms.Noisy`, are drawn from torch's default generator.

        Args:
            batch: B.

        Raises:
            ValueError: the state has a part that is no tensor.
        """
        obs = torch.zeros(batch, *self.obs_shape, dtype=self.task.dtype, device=next(self.agent.parameters()).device)
        state = self._reset(obs, None, None).agent
        tensors = _tensors(state)
        other = next((leaf for leaf in tensors if not isinstance(leaf, Tensor)), None)
        if other is not None:
            raise ValueError(f"the agent's state holds a {type(other).__name__}, want tensors only, as those of a GRU")
        return torch.export.export(_StepModule(self.agent, state), (obs, *tensors)), tuple(tensors)


def _last_size(obs: Any) -> int | None:
    """The size of the last axis of an array; None of what is none."""
    return obs.shape[-1] if isinstance(obs, np.ndarray | Tensor) and obs.ndim else None


class _StepModule(nn.Module):
    """The step of an agent with its state as a list of tensors; `like`: a state, for its structure."""

    def __init__(self, agent: Agent, like: AgentState):
        super().__init__()
        self.agent, self.like = agent, like

    def forward(self, obs: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        given = iter(tensors)
        output, state = self.agent(obs, states.map(lambda leaf: next(given), self.like), None)
        return output, *_tensors(state)


def _tensors(state: AgentState) -> list[Any]:
    """The leaves of a state in order: tensors, and what else a memory consists of."""
    leaves: list[Any] = []

    def take(leaf: Any) -> Any:
        leaves.append(leaf)
        return leaf

    states.map(take, state)
    return leaves
