"""One checked copy of an external environment, whose errors name the row, the seed and the step.

This module also runs in worker processes; it does not import torch.
"""

import signal
import time
import traceback
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

from tasks.adapters.inbound.results import RESET_RESULTS, STEP_RESULTS, InvalidResults, check_results
from tasks.adapters.inbound.rewards import InvalidReward, as_number
from tasks.adapters.inbound.spaces.observations import ACTION_MASK_KEY
from tasks.adapters.inbound.spaces.stacking import InvalidObservation, check_observation

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
        timeout: the maximum duration of a step or reset in seconds, in worker processes only, and of a constructor,
            which may take 60 s; None: no limit.
        action_mask: whether the info of each step has an `action_mask`; None: it is not looked at.
    """

    name: str
    max_episode_steps: int | None = None
    timeout: float | None = None
    action_mask: bool | None = None


class CheckedEnv:
    """One copy, whose last results are its attributes.

    After the end, `step` keeps the final observation with reward 0 until the next reset, as a rollout shows the final
    observation to the agent and ignores the action that follows. The time of each call, by `time.monotonic`, is written
    to `call_times`: positive during the call, negative after it.

    Observations are not checked here but for all rows together; `check` raises the error of this row, if it is wrong.

    Args:
        factory: returns the copy.
        row: of the batch.
        limits: of an episode and of a call.
        call_times: see above.
        seed_process: called with the seed of each episode, in a process that belongs to environments: some draw from
            its global random generators.

    Raises:
        EnvError: its constructor raised.
    """

    def __init__(
        self,
        factory: EnvFactory,
        row: int,
        limits: EnvLimits,
        call_times: CallTimes = None,
        *,
        seed_process: Callable[[int], None] | None = None,
    ):
        self.row, self.limits, self.call_times, self.seed_process = row, limits, call_times, seed_process
        self.is_watched = call_times is not None or limits.timeout is not None
        self.has_timer = limits.timeout is not None and hasattr(signal, "setitimer")
        self.seed: int | None = None
        self.t, self.obs, self.reward, self.mask = 0, None, 0.0, None
        self.terminated = self.truncated = False
        self._note_time(1)
        try:
            self.env = factory()
        except (Exception, SystemExit) as error:
            raise self._failure(error, "its constructor") from None
        self._note_time(-1)
        self.spaces = self.env.observation_space, self.env.action_space

    @property
    def ended(self) -> bool:
        """Whether the episode has ended."""
        return self.terminated or self.truncated

    def reset(self, seed: int) -> None:
        """Starts an episode.

        Args:
            seed: of the episode.

        Raises:
            EnvError: the environment raised, timed out, or changed its spaces.
        """
        self.seed, self.t, self.reward, self.terminated, self.truncated = seed, 0, 0.0, False, False
        if self.seed_process is not None:
            self.seed_process(seed)
        self._begin_call()
        try:
            self.obs, info = check_results(self.env.reset(seed=seed), RESET_RESULTS)
        except (Exception, SystemExit) as error:  # code of others, which may end the process
            self._raise(error, "reset")
        finally:
            self._stop_timer()
        self._note_time(-1)
        self._check_spaces()
        self._read_mask(info)

    def step(self, action: Any) -> None:
        """Advances the episode, unless it has ended.

        Args:
            action: of this row.

        Raises:
            EnvError: the environment raised, timed out, or returned no number as reward.
        """
        if self.ended:
            self.reward = 0.0
            return
        self.t += 1
        if self.is_watched:
            self._begin_call()
        try:
            self.obs, reward, terminated, truncated, info = check_results(self.env.step(action), STEP_RESULTS)
            self.reward = as_number(reward)
            self.terminated, self.truncated = bool(terminated), bool(truncated)
        except (Exception, SystemExit) as error:  # code of others, which may end the process
            self._raise(error, "step")
        finally:
            self._stop_timer()
        if self.is_watched:
            self._note_time(-1)
        if self.t == self.limits.max_episode_steps and not self.terminated:
            self.truncated = True
        self._read_mask(info)

    def check(self) -> None:
        """Checks the last observation.

        Raises:
            EnvError: it does not belong to the space, or is not finite.
        """
        try:
            check_observation(self.spaces[0], self.obs)
        except InvalidObservation as error:
            raise self.error(f"returned {error}") from None

    def close(self) -> None:
        """Closes the environment."""
        self.env.close()

    def error(self, problem: str, agent: Any = None) -> EnvError:
        """An error of this copy.

        Args:
            problem: what happened, after its name, row, seed and step.
            agent: of an environment of several agents, where it is the cause.
        """
        return EnvError(
            f"{self.limits.name}, row {self.row} (seed {self.seed}, step {self.t}) {problem}",
            env=self.limits.name,
            row=self.row,
            seed=self.seed,
            step=self.t,
            agent=agent,
        )

    def _raise(self, error: BaseException, call: str) -> NoReturn:
        """The error of a call, with row, seed and step."""
        if isinstance(error, InvalidReward):
            raise self.error(str(error), error.agent) from None
        if isinstance(error, InvalidResults):
            raise self.error(str(error)) from None
        raise self._failure(error, call) from None

    def _failure(self, error: BaseException, call: str) -> EnvError:
        """The error of a call that raised another one, with the traceback of that one."""
        trace = traceback.format_exc().rstrip()
        timed_out = f"took longer than {self.limits.timeout} s in {call}" if isinstance(error, _CallTimeout) else ""
        problem = timed_out or f"raised {type(error).__name__} in {call}: {error}"
        return self.error(f"{problem}\n\nTraceback of the environment:\n{trace}", getattr(error, "agent", None))

    def _begin_call(self) -> None:
        """Notes the time, and interrupts a call that times out where possible."""
        if self.has_timer:
            signal.setitimer(signal.ITIMER_REAL, self.limits.timeout or 0)
        self._note_time(1)

    def _stop_timer(self) -> None:
        if self.has_timer:
            signal.setitimer(signal.ITIMER_REAL, 0)

    def _note_time(self, sign: int) -> None:
        if self.call_times is not None:
            self.call_times[self.row] = sign * time.monotonic()

    def _check_spaces(self) -> None:
        for name, previous in zip(("observation_space", "action_space"), self.spaces, strict=True):
            current = getattr(self.env, name)
            if current is not previous and current != previous:
                raise self.error(f"changed its {name} in reset from {previous} to {current}, want fixed spaces")

    def _read_mask(self, info: Any) -> None:
        self.mask = info.get(ACTION_MASK_KEY) if isinstance(info, dict) else None
        if self.limits.action_mask is None or (self.mask is not None) is self.limits.action_mask or self.ended:
            return
        got, want = ("no", "one") if self.limits.action_mask else ("an", "none, or one at the first reset, too")
        raise self.error(f"returned {got} action_mask in its info, want {want}, as all infos have one or none has")


class _CallTimeout(Exception):
    """A call to an environment exceeded the timeout."""


def init_call_timer() -> None:
    """Lets SIGALRM interrupt a call that times out, in a process whose signals are not used otherwise."""

    def raise_timeout(number: int, frame: object) -> None:
        raise _CallTimeout

    if hasattr(signal, "SIGALRM"):
        signal.signal(signal.SIGALRM, raise_timeout)
