"""Loops of random actions in external environments: as a task, as a vector of Gymnasium, and as PettingZoo has them."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from tasks import Continuous, EnvPool, Task
from tasks.adapters.optional_imports import require_gymnasium


def zeros_env(shape: tuple[int, ...], seconds: float) -> Any:
    """An environment that observes zeros and waits in each step.

    Args:
        shape: of an observation; of bytes, if it has several axes, as an image.
        seconds: that a step waits.
    """
    gymnasium = require_gymnasium()

    class Zeros(gymnasium.Env):  # type: ignore[name-defined]
        observation_space = gymnasium.spaces.Box(0, 255, shape, np.uint8 if len(shape) > 1 else np.float32)
        action_space = gymnasium.spaces.Discrete(4)
        obs = np.zeros(shape, observation_space.dtype)

        def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
            return self.obs, {}

        def step(self, action: Any) -> Any:
            if seconds:
                time.sleep(seconds)
            return self.obs, 0.0, False, False, {}

    return Zeros()


def random_task_steps(task: Task, rows: int, rng: torch.Generator) -> Callable[[int], None]:
    """A function of a number of steps, with random actions, and resets as in a rollout: in the step after an end.

    Args:
        task: of an external environment.
        rows: copies of it.
        rng: the generator of actions and episodes.
    """
    space, agents = task.action_space, () if task.agents is None else (task.agents,)

    def play(steps: int) -> None:
        state, step = task.reset(rows, rng)
        for _ in range(steps):
            over = (step.terminated | step.truncated).reshape(rows, -1).all(-1)
            if isinstance(space, Continuous):
                action = torch.rand(rows, *agents, space.size, generator=rng, device=rng.device)
            else:
                action = torch.randint(space.size, (rows, *agents), generator=rng, device=rng.device)
            state, step = task.step(state, action, rng)
            if over.any():
                state, step = task.restart(state, over, rng)

    return play


def pool_steps(pool: EnvPool, rows: int, rng: torch.Generator) -> Callable[[int], None]:
    """A function of a number of steps, with the first of discrete actions, in environments that do not end.

    Args:
        pool: of environments.
        rows: copies of it.
        rng: the generator of episodes.
    """

    def play(steps: int) -> None:
        handle, _ = pool.reset(rows, rng)
        for _ in range(steps):
            handle, _ = handle.step(np.zeros(rows, np.int64))

    return play


def random_vector_steps(vector: Any) -> Callable[[int], None]:
    """A function of a number of steps, with random actions in an environment that resets by itself.

    Args:
        vector: a vector environment of Gymnasium.
    """

    def play(steps: int) -> None:
        vector.reset(seed=0)
        for _ in range(steps):
            vector.step(vector.action_space.sample())

    return play


def random_agent_steps(env: Any, rows: int) -> Callable[[int], None]:
    """A function of a number of steps, with random actions of all agents, `rows` times as many in one copy.

    Args:
        env: a `ParallelEnv` of PettingZoo with discrete actions.
        rows: copies to which it is compared.
    """
    options = {name: int(env.action_space(name).n) for name in env.possible_agents}
    rng = np.random.default_rng(0)

    def play(steps: int) -> None:
        env.reset(seed=0)
        for _ in range(rows * steps):
            if not env.agents:
                env.reset()
            env.step({name: int(rng.integers(options[name])) for name in env.agents})

    return play
