"""Environments of a task in other libraries: how one is made and stepped, and how its answers are read as steps again.

Shapes: P agent of the world, A numbers of an action.
"""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tasks import Step, Task, to_gymnasium, to_parallel_env


class EnvLibrary(ABC):
    """All steps are a batch of 1, on the CPU."""

    @abstractmethod
    def make(self, task: Task) -> Any:
        """An environment. Raises ValueError for a task that it does not serve."""

    def reset(self, env: Any, seed: int, state: Any, opened: Step) -> Step:
        """The environment's own seed; and the episode that it plays, as the task opened it."""
        obs, info = env.reset(seed=seed, options={"initial": (state, opened)})
        return self._to_step(env, opened, info, obs)

    @abstractmethod
    def step(self, env: Any, action: Tensor, before: Step) -> Step:
        """The answer to the task's action, without a batch; before: what was told last."""

    @abstractmethod
    def _to_step(self, env: Any, before: Step, info: dict[str, Any], obs: Any, *rest: Any) -> Step:
        """As a step shaped like the one before. rest: reward, terminated, truncated; of an opening nothing."""


class GymnasiumLibrary(EnvLibrary):
    """One actor."""

    def make(self, task: Task) -> Any:
        return to_gymnasium(task)

    def step(self, env: Any, action: Tensor, before: Step) -> Step:
        obs, reward, terminated, truncated, info = env.step(action.numpy())
        return self._to_step(env, before, info, obs, reward, terminated, truncated)

    def _to_step(self, env: Any, before: Step, info: dict[str, Any], obs: Any, *rest: Any) -> Step:
        reward, terminated, truncated = rest or (0.0, False, False)
        return before._replace(
            obs=_cast_like(before.obs, obs),
            reward=_cast_like(before.reward, reward),
            terminated=_cast_like(before.terminated, terminated),
            truncated=_cast_like(before.truncated, truncated),
            scores=_scores(before, info),
            action_mask=None
            if before.action_mask is None
            else _cast_like(before.action_mask, _flat(info["action_mask"])),
        )


class PettingZooLibrary(EnvLibrary):
    """Several agents. Of one who is told nothing any more there is no observation and no reward, all is legal, and
    its end stays."""

    def make(self, task: Task) -> Any:
        return to_parallel_env(task)

    def step(self, env: Any, action: Tensor, before: Step) -> Step:
        given = zip(env.possible_agents, env.seats.parted(action), strict=True)
        acting = {name: one.numpy() for name, one in given if name in env.agents}
        obs, reward, terminated, truncated, infos = env.step(acting)
        return self._to_step(env, before, infos, obs, reward, terminated, truncated)

    def _to_step(self, env: Any, before: Step, info: dict[str, Any], obs: Any, *rest: Any) -> Step:
        reward, terminated, truncated = rest or ({}, {}, {})
        names, legal, present = env.possible_agents, before.action_mask, before.present
        if legal is not None:
            all_ = [np.ones(env.seats.action(place).size) for place in range(len(names))]
            masks = [_flat(info.get(n, {}).get("action_mask", every)) for n, every in zip(names, all_, strict=True)]
            legal = _cast_like(legal, env.seats.all_legal([torch.as_tensor(mask) for mask in masks]))
        if present is not None:
            present = _cast_like(present, [name in env.agents or truncated.get(name, False) for name in names])
        return before._replace(
            obs=_stack_agents(before.obs, 2, names, obs, torch.zeros_like(before.obs)),
            reward=_stack_agents(before.reward, 1, names, reward, torch.zeros_like(before.reward)),
            terminated=_stack_agents(before.terminated, 1, names, terminated, before.terminated),
            truncated=_stack_agents(before.truncated, 1, names, truncated, before.truncated),
            scores=_scores(before, next(iter(info.values()), {})),
            present=present,
            action_mask=legal,
        )


LIBRARIES: dict[str, EnvLibrary] = {"pettingzoo": PettingZooLibrary(), "gymnasium": GymnasiumLibrary()}
"""Libraries whose trainers our tasks can be given to, by name."""


def _stack_agents(old: Tensor, shared: int, names: list[str], told: dict[str, Any], missing: Tensor) -> Tensor:
    """What each agent was told, a row each; or what all were, where it has but the `shared` axes."""
    if old.dim() == shared:
        return _cast_like(old, told[min(told, key=names.index)]) if told else missing
    return _cast_like(old, np.stack([told.get(name, missing[0, place].numpy()) for place, name in enumerate(names)]))


def _scores(before: Step, info: dict[str, Any]) -> dict[str, Tensor]:
    return {name: _cast_like(score, info.get(name, np.nan)) for name, score in before.scores.items()}


def _flat(mask: Any) -> np.ndarray:
    return np.concatenate(mask) if isinstance(mask, tuple) else mask


def _cast_like(old: Tensor, value: Any) -> Tensor:
    """The value in the shape and dtype of the step before."""
    return torch.as_tensor(np.asarray(value)).to(old.dtype).reshape(old.shape)
