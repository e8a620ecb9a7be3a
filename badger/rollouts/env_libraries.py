"""A task's environments in Gymnasium and PettingZoo: make, reset and step one, and convert its results to `Step`.

Shapes: P agent of the environment, A numbers of an action.
"""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tasks import Step, Task, num_options, to_gymnasium, to_parallel_env
from tasks.adapters.outbound.spaces import to_gym_action
from tasks.task import flatten_mask


class EnvLibrary(ABC):
    """An environment library. All steps have a batch of 1, on the CPU."""

    @abstractmethod
    def make(self, task: Task) -> Any:
        """An environment of the library.

        Args:
            task: the task.

        Raises:
            ValueError: the library does not support the task.
        """

    def reset(self, env: Any, seed: int, state: Any, reset_step: Step) -> Step:
        """Starts a given episode of the task in an environment.

        Args:
            env: the environment.
            seed: of the environment.
            state: the state of the task at the start of the episode.
            reset_step: the first step of the episode.
        """
        obs, info = env.reset(seed=seed, options={"initial": (state, reset_step)})
        return self._to_step(env, reset_step, info, obs)

    @abstractmethod
    def step(self, env: Any, action: Tensor, last_step: Step) -> Step:
        """The result of an action.

        Args:
            env: the environment.
            action: of the task, without a batch axis.
            last_step: the result before.
        """

    @abstractmethod
    def _to_step(self, env: Any, last_step: Step, info: dict[str, Any], obs: Any, *results: Any) -> Step:
        """Results as a step of the same shapes as the last one; results: reward, terminated, truncated, or none."""


class GymnasiumLibrary(EnvLibrary):
    """Gymnasium: one agent."""

    def make(self, task: Task) -> Any:
        return to_gymnasium(task)

    def step(self, env: Any, action: Tensor, last_step: Step) -> Step:
        obs, reward, terminated, truncated, info = env.step(to_gym_action(env.task.action_space, action))
        return self._to_step(env, last_step, info, obs, reward, terminated, truncated)

    def _to_step(self, env: Any, last_step: Step, info: dict[str, Any], obs: Any, *results: Any) -> Step:
        reward, terminated, truncated = results or (0.0, False, False)
        action_mask = last_step.action_mask
        if action_mask is not None:
            action_mask = _cast_like(action_mask, flatten_mask(info["action_mask"]))
        return last_step._replace(
            obs=_cast_like(last_step.obs, obs),
            reward=_cast_like(last_step.reward, reward),
            terminated=_cast_like(last_step.terminated, terminated),
            truncated=_cast_like(last_step.truncated, truncated),
            scores=_scores(last_step, info),
            action_mask=action_mask,
        )


class PettingZooLibrary(EnvLibrary):
    """PettingZoo: several agents. Agents without results get zero observations and rewards, an all-True mask, and keep
    their ends."""

    def make(self, task: Task) -> Any:
        return to_parallel_env(task)

    def step(self, env: Any, action: Tensor, last_step: Step) -> Step:
        parts = enumerate(zip(env.possible_agents, env.joint_action.split(action), strict=True))
        spaces = env.joint_action.action_space
        actions = {name: to_gym_action(spaces(i), part) for i, (name, part) in parts if name in env.agents}
        obs, reward, terminated, truncated, infos = env.step(actions)
        return self._to_step(env, last_step, infos, obs, reward, terminated, truncated)

    def _to_step(self, env: Any, last_step: Step, info: dict[str, Any], obs: Any, *results: Any) -> Step:
        reward, terminated, truncated = results or ({}, {}, {})
        names, action_mask, present = env.possible_agents, last_step.action_mask, last_step.present
        if action_mask is not None:
            spaces = [env.joint_action.action_space(i) for i in range(len(names))]
            masks = [
                flatten_mask(info.get(name, {}).get("action_mask", np.ones(num_options(space))))
                for name, space in zip(names, spaces, strict=True)
            ]
            joint_mask = env.joint_action.join_masks([torch.as_tensor(mask) for mask in masks])
            action_mask = _cast_like(action_mask, joint_mask)
        if present is not None:
            present = _cast_like(present, [name in env.agents or truncated.get(name, False) for name in names])
        return last_step._replace(
            obs=_stack_agents(last_step.obs, 2, names, obs, torch.zeros_like(last_step.obs)),
            reward=_stack_agents(last_step.reward, 1, names, reward, torch.zeros_like(last_step.reward)),
            terminated=_stack_agents(last_step.terminated, 1, names, terminated, last_step.terminated),
            truncated=_stack_agents(last_step.truncated, 1, names, truncated, last_step.truncated),
            scores=_scores(last_step, next(iter(info.values()), {})),
            present=present,
            action_mask=action_mask,
        )


LIBRARIES: dict[str, EnvLibrary] = {"pettingzoo": PettingZooLibrary(), "gymnasium": GymnasiumLibrary()}
"""Environment libraries by name."""


def _stack_agents(old: Tensor, shared_dim: int, names: list[str], results: dict[str, Any], default: Tensor) -> Tensor:
    """Stacks the results of the agents; or takes that of the first, where `old` has `shared_dim` axes: one for all."""
    if old.dim() == shared_dim:
        return _cast_like(old, results[min(results, key=names.index)]) if results else default
    return _cast_like(old, np.stack([results.get(name, default[0, i].numpy()) for i, name in enumerate(names)]))


def _scores(last_step: Step, info: dict[str, Any]) -> dict[str, Tensor]:
    return {name: _cast_like(score, info.get(name, np.nan)) for name, score in last_step.scores.items()}


def _cast_like(old: Tensor, value: Any) -> Tensor:
    """The value in the shape and dtype of another tensor."""
    return torch.as_tensor(np.asarray(value)).to(old.dtype).reshape(old.shape)
