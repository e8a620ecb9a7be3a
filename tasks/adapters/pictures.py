"""Environments that keep the pictures of their episodes, for figures."""

from collections.abc import Callable
from typing import Any

import numpy as np

from tasks.adapters.inbound.as_parallel import as_parallel_env
from tasks.adapters.optional_imports import require_gymnasium, require_pettingzoo


def picture_env(name: str, factory: Callable[[], Any], pictures: list[np.ndarray]) -> Any:
    """A `gymnasium.Env` that appends its picture after each reset and each step.

    Args:
        name: of the environment, which its description takes from here.
        factory: returns one whose `render` gives arrays.
        pictures: bytes (height, width, 3), extended.
    """

    class PictureEnv(require_gymnasium().Wrapper):  # type: ignore[misc]
        def reset(self, **options: Any) -> Any:
            return _shown(self.env, pictures, self.env.reset(**options))

        def step(self, action: Any) -> Any:
            return _shown(self.env, pictures, self.env.step(action))

    return PictureEnv(factory())


def picture_parallel_env(name: str, factory: Callable[[], Any], pictures: list[np.ndarray]) -> Any:
    """The same for an environment of several agents, as a `pettingzoo.ParallelEnv`: one picture for a step of all.

    Args:
        name: of the environment.
        factory: returns one whose `render` gives arrays.
        pictures: bytes (height, width, 3), extended.
    """

    class PictureEnv(require_pettingzoo().utils.BaseParallelWrapper):  # type: ignore[misc]
        def reset(self, seed: int | None = None, options: Any = None) -> Any:
            return _shown(self.env, pictures, self.env.reset(seed=seed, options=options))

        def step(self, actions: Any) -> Any:
            return _shown(self.env, pictures, self.env.step(actions))

    return PictureEnv(as_parallel_env(factory()))


def _shown(env: Any, pictures: list[np.ndarray], result: Any) -> Any:
    pictures.append(np.array(env.render()))
    return result
