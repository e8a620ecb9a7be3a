"""A task of ours as a pettingzoo ParallelEnv, for anyone's trainer of several agents."""

from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tasks.adapters import optional_imports as installed
from tasks.adapters.outbound.episode import MODES, Episode
from tasks.adapters.outbound.joint_action import make_joint_action
from tasks.adapters.outbound.spaces import Space, parse_action, to_action_space, to_gym_mask, to_numpy, to_obs_space
from tasks.task import Step, Task


def to_parallel_env(task: Task, *, render_mode: str | None = None) -> Any:
    """The task as a `pettingzoo.ParallelEnv`: one episode at a time, on the CPU, of agents expert_0, expert_1, ...

    Who they are:
    - Of a world of several agents (`Task.agents`), those: each has its own observation, action, reward and end.
    - Where each expert senses a row of its own, (B, E, O), the experts: the row is what one sees. They do one thing
      together, so each gives the whole action, and they vote (`tasks.adapters.outbound.joint_action.VotedAction`).
    - Else one for each part of the action: a choice of a MultiDiscrete, a number of a Continuous, a Discrete as a
      whole. All see the same.

    So nobody has to know how many experts an agent of ours would have, and what one does is always a Discrete or a Box,
    unless the task says otherwise of a single agent. What the task says once, a reward or an end, is told to all.

    The reward is that for integers: 1 or 0 where logits would earn a log-probability. What is legal is
    `infos[agent]["action_mask"]`, as `Space.sample` takes it, where the task tells it; the task's scores are in each
    info by their names where they are due. Agents whose end is told, or who are not present any more, leave
    `env.agents`. `reset(seed=...)` decides all that is random; `reset(options={"opened": (state, step)})` plays an
    episode that the task has opened, a batch of 1.

    Args:
        render_mode: "rgb_array", "ansi" (text), "human" (the text is printed, at each step), or None.

    Raises:
        ValueError: another render mode.
        ModuleNotFoundError: pettingzoo is not installed.
    """
    return _env_class()(task, render_mode)


@cache
def _env_class() -> type:
    return type("TaskParallelEnv", (_TaskParallelEnv, installed.require_pettingzoo().ParallelEnv), {})


class _TaskParallelEnv:
    """Less its base class, which may not be there when this file is read."""

    def __init__(self, task: Task, render_mode: str | None):
        self.metadata = {"render_modes": MODES, "name": type(task).__name__, "is_parallelizable": True}
        self.episode, self.task, self.render_mode = Episode(task, render_mode), task, render_mode
        _, opened = task.reset(1, torch.Generator().manual_seed(0))  # who sees what
        self.joint_action = make_joint_action(task, opened)
        self.possible_agents = [f"expert_{place}" for place in range(self.joint_action.num_agents)]
        self.agents: list[str] = []
        self._gone: set[str] = set()
        self._random: np.random.Generator | None = None
        self._seen = {name: to_obs_space(_agent_slice(opened.obs, 2, i)) for i, name in enumerate(self.possible_agents)}
        self._done = {
            name: to_action_space(self.joint_action.action_space(i), task.dtype)
            for i, name in enumerate(self.possible_agents)
        }

    def __reduce__(self) -> tuple:
        return to_parallel_env, (self.task,), self.__dict__

    def observation_space(self, agent: str) -> Space:
        return self._seen[agent]

    def action_space(self, agent: str) -> Space:
        return self._done[agent]

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        if seed is not None or self._random is None:
            self._random, _ = installed.require_gymnasium().utils.seeding.np_random(seed)
        step = self.episode.reset(self._random, options)
        self._gone = set()
        self.agents = [name for name in self.possible_agents if self._is_present(step, name)]
        return self._observe(step, self.agents)

    def step(self, actions: dict[str, Any]) -> tuple[dict, dict, dict, dict, dict]:
        if not self.agents:
            raise RuntimeError(f"nobody is there to act in {self.task}: call reset()")
        if set(actions) != set(self.agents):
            raise ValueError(f"actions of {sorted(actions)}, want one of each agent who is there: {self.agents}")
        given = {
            place: parse_action(actions[name], self.joint_action.action_space(place), self.task.dtype, name)
            for place, name in enumerate(self.possible_agents)
            if name in self.agents
        }
        acting = self.agents
        step = self.episode.step(self.joint_action.join(given))
        appeared = [n for n in self.possible_agents if n not in {*acting, *self._gone} and self._is_present(step, n)]
        told = [*acting, *appeared]
        rewards = {name: float(_agent_slice(step.reward, 1, self._agent_index(name))) for name in told}
        truncated = {name: bool(_agent_slice(step.truncated, 1, self._agent_index(name))) for name in told}
        terminated = {
            name: bool(_agent_slice(step.terminated, 1, self._agent_index(name)))
            or (not self._is_present(step, name) and not truncated[name])  # gone without a word
            for name in told
        }
        self._gone |= {name for name in told if terminated[name] or truncated[name]}
        self.agents = [name for name in self.possible_agents if name in set(told) - self._gone]
        obs, infos = self._observe(step, told)
        return obs, rewards, terminated, truncated, infos

    def _agent_index(self, name: str) -> int:
        return self.possible_agents.index(name)

    def _is_present(self, step: Step, name: str) -> bool:
        return step.present is None or bool(step.present[0, self._agent_index(name)])

    def _observe(self, step: Step, names: list[str]) -> tuple[dict[str, np.ndarray], dict[str, dict]]:
        """What these agents see, and their infos."""
        infos: dict[str, dict] = {name: self.episode.scores for name in names}
        if step.action_mask is not None:
            for name in names:
                place = self._agent_index(name)
                infos[name]["action_mask"] = to_gym_mask(
                    self.joint_action.action_space(place), self.joint_action.split_mask(step.action_mask[0], place)
                )
        return {name: to_numpy(_agent_slice(step.obs, 2, self._agent_index(name))) for name in names}, infos

    def render(self) -> np.ndarray | str | None:
        return self.episode.render()

    def close(self) -> None:
        """Nothing is held open."""


def _agent_slice(told: Tensor, shared: int, place: int) -> Tensor:
    """An agent's part of what was told to a batch of 1: its row, or all of what has but the `shared` axes."""
    return told[0] if told.dim() == shared else told[0, place]
