"""Copies of a world that is not ours, each watched, so that what goes wrong in one is told with its row, seed and step.

This is what runs in a worker process, too. Nothing here knows torch.
"""

import os
import signal
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import numpy as np

from tasks.adapters.optional_imports import require_gymnasium

EnvFactory = Callable[[], Any]  # of a gymnasium.Env


class EnvError(RuntimeError):
    """A world that is not ours went wrong: it raised, told what is no number, took too long, or changed its spaces."""


class EnvLimits(NamedTuple):
    """name: of the world, in errors. max_episode_steps: after which an episode is truncated, if it has not ended by itself; None:
    never. timeout: seconds that a step or reset may take; None: any; only in a worker process. flatten: observations are
    made flat, by `gymnasium.spaces.flatten`."""

    name: str
    max_episode_steps: int | None = None
    timeout: float | None = None
    flatten: bool = False


class CheckedEnv:
    """One copy, as an environment of Gymnasium that never tells of its ends: they are in `terminated` and `truncated`.

    After an end it stays as it is, and pays nothing, until it is reset: a rollout shows the agent the final observation
    and ignores the action that follows.
    """

    metadata: Mapping[str, Any] = {}
    render_mode = None

    def __init__(self, factory: EnvFactory, row: int, limits: EnvLimits):
        self.env, self.row, self.limits = factory(), row, limits
        self.spaces = self.env.observation_space, self.env.action_space
        self.observation_space, self.action_space = self.spaces
        self.flatten = False
        if limits.flatten:
            self.observation_space = require_gymnasium().spaces.flatten_space(self.observation_space)
            self.flatten = self.observation_space != self.spaces[0]
        self.seed: int | None = None
        self.t, self.last, self.terminated, self.truncated = 0, None, False, False

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        self.seed, self.t = seed, 0
        with self._guarded("reset"):
            obs, _ = self.env.reset(seed=seed)
        self._check_spaces()
        self.last = self._checked_obs(obs)
        self.terminated = self.truncated = False
        return self.last, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        reward = 0.0
        if not (self.terminated or self.truncated):
            self.t += 1
            with self._guarded("step"):
                obs, reward, terminated, truncated, _ = self.env.step(action)
            self.last = self._checked_obs(obs)
            if not np.isfinite(reward):
                raise self._error(f"gave the reward {reward}, want a finite number")
            late = self.limits.max_episode_steps is not None and self.t >= self.limits.max_episode_steps
            self.terminated, self.truncated = bool(terminated), bool(truncated) or (late and not terminated)
        return self.last, reward, False, False, {}

    def close(self) -> None:
        self.env.close()

    def _error(self, what: str) -> EnvError:
        return EnvError(f"{self.limits.name}, row {self.row} (seed {self.seed}, step {self.t}) {what}")

    @contextmanager
    def _guarded(self, call: str) -> Iterator[None]:
        """Says where and when, if the world raises, or takes too long and can be interrupted."""
        limit = self.limits.timeout
        try:
            if limit is not None and hasattr(signal, "setitimer"):
                signal.setitimer(signal.ITIMER_REAL, limit)
            yield
        except Exception as error:
            trace = traceback.format_exc().rstrip()
            late = f"took longer than {limit} s in {call}" if isinstance(error, _CallTimeout) else ""
            raised = late or f"raised {type(error).__name__} in {call}: {error}"
            raise self._error(f"{raised}\n\nThe world's own traceback:\n{trace}") from None
        finally:
            if limit is not None and hasattr(signal, "setitimer"):
                signal.setitimer(signal.ITIMER_REAL, 0)

    def _check_spaces(self) -> None:
        for name, before in zip(("observation_space", "action_space"), self.spaces, strict=True):
            now = getattr(self.env, name)
            if now is not before and now != before:
                raise self._error(f"changed its {name} in reset from {before} to {now}, and an agent's sizes are fixed")

    def _checked_obs(self, obs: Any) -> Any:
        self._check_value(obs, self.spaces[0], "observation")
        return require_gymnasium().spaces.flatten(self.spaces[0], obs) if self.flatten else obs

    def _check_value(self, value: Any, space: Any, where: str) -> None:
        """Raises unless the value has the space's shape and is finite, in all its parts."""
        if isinstance(getattr(space, "spaces", None), Mapping):
            if not isinstance(value, Mapping) or set(value) != set(space.spaces):
                got = sorted(value) if isinstance(value, Mapping) else type(value).__name__
                raise self._error(f"gave the {where} {got}, want a dict of {sorted(space.spaces)}")
            parts = [(value[key], part, f"{where}[{key!r}]") for key, part in space.spaces.items()]
        elif hasattr(space, "spaces"):
            if not isinstance(value, tuple) or len(value) != len(space.spaces):
                raise self._error(f"gave the {where} {value!r}, want a tuple of {len(space.spaces)}")
            parts = [(value[i], part, f"{where}[{i}]") for i, part in enumerate(space.spaces)]
        else:
            return self._number(value, space, where)
        for part in parts:
            self._check_value(*part)

    def _number(self, value: Any, space: Any, where: str) -> None:
        if space.shape is None:  # a text or a graph, which has no fixed size
            return
        if np.shape(value) != space.shape:
            raise self._error(f"gave the {where} of shape {np.shape(value)}, want {space.shape} as its space says")
        array = np.asarray(value)
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            place = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
            raise self._error(f"gave the {where} {array[place]} at {place}, want finite numbers")


class EnvBatch:
    """Rows that are stepped one after the other, as one environment of Gymnasium: what a worker runs.

    Its observation is a dict of what the rows told: obs (in the shape of `gymnasium.vector`), reward, terminated and
    truncated (n,). Its reset wants options: `mask`, the rows of the whole batch that start anew, and their `seeds`.
    """

    metadata: Mapping[str, Any] = {}
    render_mode = None

    def __init__(self, factory: EnvFactory, rows: range, limits: EnvLimits, parent: int):
        if os.getpid() != parent:
            _init_worker_signals()
        gym, self.limits = require_gymnasium(), limits
        makers = [lambda row=row: CheckedEnv(factory, row, limits) for row in rows]
        self.vector = gym.vector.SyncVectorEnv(makers, autoreset_mode=gym.vector.AutoresetMode.DISABLED)
        self.rows, number = slice(rows.start, rows.stop), (len(rows),)
        flags = {name: gym.spaces.MultiBinary(len(rows)) for name in ("terminated", "truncated")}
        reward = gym.spaces.Box(-np.inf, np.inf, number, np.float64)
        self.observation_space = gym.spaces.Dict(obs=self.vector.observation_space, reward=reward, **flags)
        self.action_space = self.vector.action_space
        self.last_step: dict[str, Any] = {}

    def reset(self, *, seed: None = None, options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        mask, seeds = options["mask"][self.rows], options["seeds"][self.rows]
        if mask.any():
            obs, _ = self.vector.reset(seed=list(seeds), options={"reset_mask": mask})
            reward = np.where(mask, 0.0, self.last_step["reward"]) if self.last_step else np.zeros(len(mask))
            self.last_step = self._pack_step(obs, reward)
        return self.last_step, {}

    def step(self, action: Any) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        obs, reward, *_ = self.vector.step(action)
        self.last_step = self._pack_step(obs, reward)
        return self.last_step, 0.0, False, False, {}

    def _pack_step(self, obs: Any, reward: np.ndarray) -> dict[str, Any]:
        flags = {name: [getattr(row, name) for row in self.vector.envs] for name in ("terminated", "truncated")}
        return {"obs": obs, "reward": reward, **{name: np.array(flag) for name, flag in flags.items()}}

    def close(self) -> None:
        self.vector.close()

    def kill(self) -> None:
        """Closes what can still be closed: a world that went wrong may not even close."""
        with suppress(Exception):
            self.vector.close()


class _CallTimeout(Exception):
    """A call took longer than allowed."""


def _init_worker_signals() -> None:
    """Ctrl-C is the parent's to handle, its handler of SIGTERM is not ours, and an alarm is a call that takes long."""

    def late(number: int, frame: object) -> None:
        raise _CallTimeout

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if hasattr(signal, "SIGALRM"):
        signal.signal(signal.SIGALRM, late)
