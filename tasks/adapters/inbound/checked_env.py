"""Checked copies of an external environment, whose errors name the row, the seed and the step.

This module also runs in worker processes; it does not import torch.
"""

import signal
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import numpy as np

from tasks.adapters.inbound.rewards import InvalidReward, as_number
from tasks.adapters.optional_imports import require_gymnasium

EnvFactory = Callable[[], Any]  # returns a gymnasium.Env
CallTimes = Any  # shared memory (B,) of doubles, a `ctypes.Array` or an array of NumPy, or None; see `CheckedEnv`


class EnvError(RuntimeError):
    """An external environment raised, returned a non-finite value, timed out, or changed its spaces.

    Args:
        message: what happened, and where.
        env: name of the environment.
        row: of the batch.
        seed: of the episode.
        step: of the episode, 0 in reset.
        agent: of an environment of several agents, where it is the cause.
    """

    def __init__(
        self,
        message: str,
        *,
        env: str | None = None,
        row: int | None = None,
        seed: int | None = None,
        step: int | None = None,
        agent: Any = None,
    ):
        super().__init__(message)
        self.env, self.row, self.seed, self.step, self.agent = env, row, seed, step, agent

    @property
    def context(self) -> dict[str, Any]:
        """Where it happened: the arguments of an error with another message."""
        return {name: getattr(self, name) for name in ("env", "row", "seed", "step", "agent")}


class EnvLimits(NamedTuple):
    """Limits and options of the copies of an environment.

    Args:
        name: the name of the environment, for errors.
        max_episode_steps: the step after which an episode is truncated; None: no limit.
        timeout: the maximum duration of a step or reset in seconds, in worker processes only; None: no limit.
        flatten: whether observations are flattened by `gymnasium.spaces.flatten`.
    """

    name: str
    max_episode_steps: int | None = None
    timeout: float | None = None
    flatten: bool = False


class CheckedEnv:
    """One checked copy, whose end flags are the attributes `terminated` and `truncated` instead of results of `step`.

    After the end, `step` repeats the final observation with reward 0 until the next reset, as a rollout shows the final
    observation to the agent and ignores the action that follows. The time of each call, by `time.monotonic`, is written
    to `call_times`: positive during the call, negative after it.
    """

    metadata: Mapping[str, Any] = {}
    render_mode = None

    def __init__(self, factory: EnvFactory, row: int, limits: EnvLimits, call_times: CallTimes = None):
        self.row, self.limits, self.call_times = row, limits, call_times
        self.seed: int | None = None
        self.t, self.last, self.terminated, self.truncated = 0, None, False, False
        self._record_call(1)
        try:
            self.env = factory()
        except (Exception, SystemExit) as error:
            raise self._failure(error, "its constructor") from None
        self._record_call(-1)
        self.spaces = self.env.observation_space, self.env.action_space
        self.observation_space, self.action_space = self.spaces
        self.flatten = False
        if limits.flatten:
            self.observation_space = require_gymnasium().spaces.flatten_space(self.observation_space)
            self.flatten = self.observation_space != self.spaces[0]

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
                obs, returned, terminated, truncated, _ = self.env.step(action)
                reward = as_number(returned)
            self.last = self._checked_obs(obs)
            timeout = self.limits.max_episode_steps is not None and self.t >= self.limits.max_episode_steps
            self.terminated, self.truncated = bool(terminated), bool(truncated) or (timeout and not terminated)
        return self.last, reward, False, False, {}

    def close(self) -> None:
        self.env.close()

    def _error(self, problem: str, agent: Any = None) -> EnvError:
        return EnvError(
            f"{self.limits.name}, row {self.row} (seed {self.seed}, step {self.t}) {problem}",
            env=self.limits.name,
            row=self.row,
            seed=self.seed,
            step=self.t,
            agent=agent,
        )

    def _failure(self, error: BaseException, call: str) -> EnvError:
        """The error of a call that raised another one, with the traceback of that one."""
        trace = traceback.format_exc().rstrip()
        timed_out = f"took longer than {self.limits.timeout} s in {call}" if isinstance(error, _CallTimeout) else ""
        problem = timed_out or f"raised {type(error).__name__} in {call}: {error}"
        return self._error(f"{problem}\n\nTraceback of the environment:\n{trace}", getattr(error, "agent", None))

    @contextmanager
    def _guarded(self, call: str) -> Iterator[None]:
        """Adds row, seed and step to errors of the environment, and interrupts calls that time out where possible."""
        timeout = self.limits.timeout
        try:
            if timeout is not None and hasattr(signal, "setitimer"):
                signal.setitimer(signal.ITIMER_REAL, timeout)
            self._record_call(1)
            yield
            self._record_call(-1)
        except InvalidReward as error:
            raise self._error(str(error), error.agent) from None
        except (Exception, SystemExit) as error:  # code of others, which may end the process
            raise self._failure(error, call) from None
        finally:
            if timeout is not None and hasattr(signal, "setitimer"):
                signal.setitimer(signal.ITIMER_REAL, 0)

    def _record_call(self, sign: int) -> None:
        if self.call_times is not None:
            self.call_times[self.row] = sign * time.monotonic()

    def _check_spaces(self) -> None:
        for name, previous in zip(("observation_space", "action_space"), self.spaces, strict=True):
            current = getattr(self.env, name)
            if current is not previous and current != previous:
                raise self._error(f"changed its {name} in reset from {previous} to {current}, want fixed spaces")

    def _checked_obs(self, obs: Any) -> Any:
        self._check_value(obs, self.spaces[0], "observation")
        return require_gymnasium().spaces.flatten(self.spaces[0], obs) if self.flatten else obs

    def _check_value(self, value: Any, space: Any, where: str) -> None:
        """Raises EnvError unless all parts of the value have the shapes of the space and are finite."""
        if isinstance(getattr(space, "spaces", None), Mapping):
            if not isinstance(value, Mapping) or set(value) != set(space.spaces):
                got = sorted(value) if isinstance(value, Mapping) else type(value).__name__
                raise self._error(f"returned the {where} {got}, want a dict of {sorted(space.spaces)}")
            parts = [(value[key], part, f"{where}[{key!r}]") for key, part in space.spaces.items()]
        elif hasattr(space, "spaces"):
            if not isinstance(value, tuple) or len(value) != len(space.spaces):
                raise self._error(f"returned the {where} {value!r}, want a tuple of {len(space.spaces)}")
            parts = [(value[i], part, f"{where}[{i}]") for i, part in enumerate(space.spaces)]
        else:
            return self._check_array(value, space, where)
        for part in parts:
            self._check_value(*part)

    def _check_array(self, value: Any, space: Any, where: str) -> None:
        if space.shape is None:  # a text or a graph has no fixed size
            return
        if np.shape(value) != space.shape:
            raise self._error(f"returned the {where} of shape {np.shape(value)}, want {space.shape} of its space")
        array = np.asarray(value)
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            index = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
            raise self._error(f"returned the {where} {array[index]} at {index}, want finite numbers")


class EnvBatch:
    """A batch of copies that are stepped sequentially; each worker has one.

    Its results are dicts: obs (in the shape of `gymnasium.vector`), reward, terminated and truncated (n,).
    """

    def __init__(self, factory: EnvFactory, rows: range, limits: EnvLimits, call_times: CallTimes = None):
        gym, self.limits = require_gymnasium(), limits
        factories = [lambda row=row: CheckedEnv(factory, row, limits, call_times) for row in rows]
        self.vector = gym.vector.SyncVectorEnv(factories, autoreset_mode=gym.vector.AutoresetMode.DISABLED)
        self.last_step: dict[str, Any] = {}

    def reset(self, mask: np.ndarray, seeds: np.ndarray) -> dict[str, Any]:
        if mask.any():
            obs, _ = self.vector.reset(seed=seeds.tolist(), options={"reset_mask": mask})
            reward = np.where(mask, 0.0, self.last_step["reward"]) if self.last_step else np.zeros(len(mask))
            self.last_step = self._pack_step(obs, reward)
        return self.last_step

    def step(self, action: Any) -> dict[str, Any]:
        obs, reward, *_ = self.vector.step(action)
        self.last_step = self._pack_step(obs, reward)
        return self.last_step

    def _pack_step(self, obs: Any, reward: np.ndarray) -> dict[str, Any]:
        flags = {name: [getattr(row, name) for row in self.vector.envs] for name in ("terminated", "truncated")}
        return {"obs": obs, "reward": reward, **{name: np.array(flag) for name, flag in flags.items()}}

    def close(self) -> None:
        self.vector.close()

    def kill(self) -> None:
        """Closes the copies and ignores errors, as an environment that has failed may also fail to close."""
        with suppress(Exception):
            self.vector.close()


class _CallTimeout(Exception):
    """A call to an environment exceeded the timeout."""


def init_call_timer() -> None:
    """Lets SIGALRM interrupt a call that times out, in a process whose signals are not used otherwise."""

    def raise_timeout(number: int, frame: object) -> None:
        raise _CallTimeout

    if hasattr(signal, "SIGALRM"):
        signal.signal(signal.SIGALRM, raise_timeout)
