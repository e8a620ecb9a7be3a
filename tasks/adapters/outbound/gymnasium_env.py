"""A task of ours as a gymnasium.Env, for anyone's trainer of one actor."""

from functools import cache
from typing import Any

import numpy as np
import torch

from tasks.adapters import optional_imports as installed
from tasks.adapters.outbound.episode import MODES, Episode
from tasks.adapters.outbound.spaces import parse_action, to_action_space, to_gym_mask, to_numpy, to_obs_space
from tasks.task import Step, Task


def to_gymnasium(task: Task, *, render_mode: str | None = None) -> Any:
    """The task as a `gymnasium.Env`: one episode at a time, on the CPU.

    One actor sees everything, (O,), or (E, O) where experts would each see a row, and does all of the action: Discrete,
    MultiDiscrete or Box. The reward is that for integers: 1 or 0 where logits would earn a log-probability. What is
    legal is `info["action_mask"]`, as `Space.sample` takes it, where the task tells it; the task's scores are in the
    info by their names where they are due. `reset(seed=...)` decides all that is random;
    `reset(options={"opened": (state, step)})` plays an episode that the task has opened, a batch of 1.

    Args:
        render_mode: "rgb_array", "ansi" (text), "human" (the text is printed, at each step), or None.

    Raises:
        ValueError: a world of several agents; another render mode.
        ModuleNotFoundError: gymnasium is not installed.
    """
    return _env_class()(task, render_mode)


@cache
def _env_class() -> type:
    return type("TaskEnv", (_TaskEnv, installed.require_gymnasium().Env), {})


class _TaskEnv:
    """Less its base class, which may not be there when this file is read."""

    metadata = {"render_modes": MODES, "render_fps": 4}  # noqa: RUF012  (gymnasium wants a dict)

    def __init__(self, task: Task, render_mode: str | None):
        agents = task.agents
        if agents is not None:
            raise ValueError(f"{task} is a world of {agents} agents, want one actor: use tasks.to_parallel_env")
        self.episode, self.task, self.render_mode = Episode(task, render_mode), task, render_mode
        _, opened = task.reset(1, torch.Generator().manual_seed(0))  # who sees what
        self.observation_space = to_obs_space(opened.obs[0])
        self.action_space = to_action_space(task.action_space, task.dtype)

    def __reduce__(self) -> tuple:
        return to_gymnasium, (self.task,), self.__dict__

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)  # type: ignore[misc]
        step = self.episode.reset(self.np_random, options)  # type: ignore[attr-defined]
        return to_numpy(step.obs[0]), self._info(step)

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        given = parse_action(action, self.task.action_space, self.task.dtype, "the actor")
        step = self.episode.step(given.unsqueeze(0))
        ends = bool(step.terminated[0]), bool(step.truncated[0])
        return to_numpy(step.obs[0]), float(step.reward[0]), *ends, self._info(step)

    def _info(self, step: Step) -> dict[str, Any]:
        legal = (
            {}
            if step.action_mask is None
            else {"action_mask": to_gym_mask(self.task.action_space, step.action_mask[0])}
        )
        return {**self.episode.scores, **legal}

    def render(self) -> np.ndarray | str | None:
        return self.episode.render()
