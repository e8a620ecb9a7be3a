"""Conversion of a task to a pettingzoo `ParallelEnv`, for multi-agent trainers of other libraries."""

from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tasks.adapters import optional_imports as installed
from tasks.adapters.outbound.episode import MODES, Episode
from tasks.adapters.outbound.joint_action import make_joint_action
from tasks.adapters.outbound.spaces import Space, parse_action, to_action_space, to_gym_mask, to_numpy, to_obs_space
from tasks.task import Step, Task, num_options


def to_parallel_env(task: Task, *, render_mode: str | None = None) -> Any:
    """The task as a `pettingzoo.ParallelEnv`: one episode at a time, on the CPU, of agents expert_0, expert_1, ...

    The agents are:
    - of a multi-agent task (`Task.agents`) its agents: each has its own observation, action, reward and end.
    - of a task with one observation row per expert, (B, E, O), the experts: each observes its row and gives a whole
      action, and they vote (`tasks.adapters.outbound.joint_action.VotedAction`).
    - otherwise one for each part of the action: a choice of a MultiDiscrete, a number of a Continuous, the choices and
      then the numbers of a Mixed, or the whole Discrete. All observe the same.

    The number of agents thus does not depend on an agent's experts, and action spaces are Discrete or Box, unless a
    single agent has another one in the task: MultiDiscrete, or a Tuple of it and a Box for a `tasks.Mixed`. Rewards and
    ends of the whole task are returned to all agents.

    The reward is that for integers: 1 or 0 where logits get a log-probability. `infos[agent]["action_mask"]` has the
    action mask of an agent's choices, if the task has any, in the format of `Space.sample`; scores of the task are in
    each info by their names. Agents that have ended or are no longer present leave `env.agents`. `reset(seed=...)`
    seeds all randomness; `reset(options={"initial": (state, step)})` starts from the results of `Task.reset` for a
    batch of 1.

    Args:
        task: the task.
        render_mode: "rgb_array", "ansi" (text), "human" (the text is printed at each step), or None.

    Raises:
        ValueError: another render mode.
        ModuleNotFoundError: pettingzoo is not installed.
    """
    return _env_class()(task, render_mode)


@cache
def _env_class() -> type:
    return type("TaskParallelEnv", (_TaskParallelEnv, installed.require_pettingzoo().ParallelEnv), {})


class _TaskParallelEnv:
    """The environment without its base class, as pettingzoo is imported only when needed."""

    def __init__(self, task: Task, render_mode: str | None):
        self.metadata = {"render_modes": MODES, "name": type(task).__name__, "is_parallelizable": True}
        self.episode, self.task, self.render_mode = Episode(task, render_mode), task, render_mode
        _, reset_step = task.reset(1, torch.Generator().manual_seed(0))  # for the shapes of observations
        self.joint_action = make_joint_action(task, reset_step)
        self.possible_agents = [f"expert_{i}" for i in range(self.joint_action.num_agents)]
        self.agents: list[str] = []
        self._ended: set[str] = set()
        self._random: np.random.Generator | None = None
        self._observation_spaces = {
            name: to_obs_space(_agent_slice(reset_step.obs, 2, i)) for i, name in enumerate(self.possible_agents)
        }
        self._action_spaces = {
            name: to_action_space(self.joint_action.action_space(i), task.dtype)
            for i, name in enumerate(self.possible_agents)
        }

    def __reduce__(self) -> tuple:
        return to_parallel_env, (self.task,), self.__dict__

    def observation_space(self, agent: str) -> Space:
        return self._observation_spaces[agent]

    def action_space(self, agent: str) -> Space:
        return self._action_spaces[agent]

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        if seed is not None or self._random is None:
            self._random, _ = installed.require_gymnasium().utils.seeding.np_random(seed)
        step = self.episode.reset(self._random, options)
        self._ended = set()
        self.agents = [name for name in self.possible_agents if self._is_present(step, name)]
        return self._observe(step, self.agents)

    def step(self, actions: dict[str, Any]) -> tuple[dict, dict, dict, dict, dict]:
        if not self.agents:
            raise RuntimeError(f"no agent is present in {self.task}: call reset()")
        if set(actions) != set(self.agents):
            raise ValueError(f"actions of {sorted(actions)}, want one of each present agent: {self.agents}")
        parsed = {
            i: parse_action(actions[name], self.joint_action.action_space(i), self.task.dtype, name)
            for i, name in enumerate(self.possible_agents)
            if name in self.agents
        }
        acting = self.agents
        step = self.episode.step(self.joint_action.join(parsed))
        new = [n for n in self.possible_agents if n not in {*acting, *self._ended} and self._is_present(step, n)]
        names = [*acting, *new]
        rewards = {name: float(_agent_slice(step.reward, 1, self._agent_index(name))) for name in names}
        truncated = {name: bool(_agent_slice(step.truncated, 1, self._agent_index(name))) for name in names}
        terminated = {
            name: bool(_agent_slice(step.terminated, 1, self._agent_index(name)))
            or (not self._is_present(step, name) and not truncated[name])  # absent without an end flag
            for name in names
        }
        self._ended |= {name for name in names if terminated[name] or truncated[name]}
        self.agents = [name for name in self.possible_agents if name in set(names) - self._ended]
        obs, infos = self._observe(step, names)
        return obs, rewards, terminated, truncated, infos

    def _agent_index(self, name: str) -> int:
        return self.possible_agents.index(name)

    def _is_present(self, step: Step, name: str) -> bool:
        return step.present is None or bool(step.present[0, self._agent_index(name)])

    def _observe(self, step: Step, names: list[str]) -> tuple[dict[str, np.ndarray], dict[str, dict]]:
        """Observations and infos of these agents."""
        infos: dict[str, dict] = {name: self.episode.scores for name in names}
        if step.action_mask is not None:
            for name in names:
                i = self._agent_index(name)
                mask, space = self.joint_action.split_mask(step.action_mask[0], i), self.joint_action.action_space(i)
                if num_options(space):
                    infos[name]["action_mask"] = to_gym_mask(space, mask)
        return {name: to_numpy(_agent_slice(step.obs, 2, self._agent_index(name))) for name in names}, infos

    def render(self) -> np.ndarray | str | None:
        return self.episode.render()

    def close(self) -> None:
        """Does nothing, as no resource is open."""


def _agent_slice(values: Tensor, shared_dims: int, agent_index: int) -> Tensor:
    """The agent's row of a batch of 1, or the whole of a tensor that has only the `shared_dims` axes."""
    return values[0] if values.dim() == shared_dims else values[0, agent_index]
