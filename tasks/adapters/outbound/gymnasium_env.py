"""Conversion of a task to a `gymnasium.Env`, for trainers of other libraries."""

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

    A single agent receives the whole observation, (O,), or (E, O) of a task with one row per expert, and gives the
    whole action: Discrete, MultiDiscrete or Box, or a Tuple of a MultiDiscrete and a Box where the task's are `Mixed`.
    The reward is that for integers: 1 or 0 where logits get a log-probability.
    `info["action_mask"]` has the action mask of the task, if any, in the format of `Space.sample`; scores of the task
    are in `info` by their names. `reset(seed=...)` seeds all randomness; `reset(options={"initial": (state, step)})`
    starts from the results of `Task.reset` for a batch of 1.

    Args:
        task: the task.
        render_mode: "rgb_array", "ansi" (text), "human" (the text is printed at each step), or None.

    Raises:
        ValueError: a task of several agents; another render mode.
        ModuleNotFoundError: gymnasium is not installed.
    """
    return _env_class()(task, render_mode)


@cache
def _env_class() -> type:
    return type("TaskEnv", (_TaskEnv, installed.require_gymnasium().Env), {})


class _TaskEnv:
    """The environment without its base class, as gymnasium is imported only when needed."""

    metadata = {"render_modes": MODES, "render_fps": 4}  # noqa: RUF012  (gymnasium wants a dict)

    def __init__(self, task: Task, render_mode: str | None):
        agents = task.agents
        if agents is not None:
            raise ValueError(f"task={task} has {agents} agents, want a single one: use tasks.to_parallel_env")
        self.episode, self.task, self.render_mode = Episode(task, render_mode), task, render_mode
        _, reset_step = task.reset(1, torch.Generator().manual_seed(0))  # for the shape of an observation
        self.observation_space = to_obs_space(reset_step.obs[0])
        self.action_space = to_action_space(task.action_space, task.dtype)

    def __reduce__(self) -> tuple:
        return to_gymnasium, (self.task,), self.__dict__

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)  # type: ignore[misc]
        step = self.episode.reset(self.np_random, options)  # type: ignore[attr-defined]
        return to_numpy(step.obs[0]), self._info(step)

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        parsed = parse_action(action, self.task.action_space, self.task.dtype, "the agent")
        step = self.episode.step(parsed.unsqueeze(0))
        done = bool(step.terminated[0]), bool(step.truncated[0])
        return to_numpy(step.obs[0]), float(step.reward[0]), *done, self._info(step)

    def _info(self, step: Step) -> dict[str, Any]:
        info: dict[str, Any] = dict(self.episode.scores)
        if step.action_mask is not None:
            info["action_mask"] = to_gym_mask(self.task.action_space, step.action_mask[0])
        return info

    def render(self) -> np.ndarray | str | None:
        return self.episode.render()
