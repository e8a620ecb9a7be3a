"""Pool of batched external environments (Gymnasium) behind handles, for tasks that wrap them.

    pool = EnvPool(factory, EnvLimits("CartPole-v1", max_episode_steps=500), num_workers=2)
    handle, step = pool.reset(8, rng)            # 8 copies, with seeds sampled from rng
    handle, step = handle.step(actions)          # one for each row
    handle, step = handle.restart(mask, rng)     # new episodes in the masked rows

The state of other tasks is a value; that of an external environment is a handle. Each step returns a new handle and
invalidates the previous one, as an external environment cannot be rewound, copied or saved in a checkpoint.

Not related to the library EnvPool.

Shapes: B episode.
"""

import os
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from tasks.adapters.inbound.checked_env import EnvFactory, EnvLimits
from tasks.adapters.inbound.env_batch import EnvBatch
from tasks.adapters.inbound.workers.worker_pool import WorkerPool


class EnvStep(NamedTuple):
    """Results of one step of a batch of environments, in NumPy.

    A row whose episode has ended repeats its observation and end flags, with reward 0, until it is restarted.

    Args:
        obs: an array with a leading axis, or dicts and tuples of arrays, in the structure of the observation space;
            texts as lists.
        reward: (B,).
        terminated: (B,).
        truncated: (B,).
        action_mask: those of the infos, one for each row; None: there are none.
    """

    obs: Any
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    action_mask: list[Any] | None = None


class EnvPool:
    """Pool of batches of copies of one environment; batches out of use are reused or closed.

    Args:
        factory: returns one copy, a `gymnasium.Env`; with workers that are not forked it must support cloudpickle.
        limits: the name for errors, the maximum length of an episode, and the timeout of a call.
        num_workers: 1: the copies are stepped sequentially in this process. More: the maximum number of worker
            processes, for slow environments; the number in use divides the batch. None: given at each reset.

    Raises:
        ValueError: `num_workers` below 1, or a timeout without workers, as a call in this process cannot be
            interrupted.
    """

    def __init__(self, factory: EnvFactory, limits: EnvLimits, *, num_workers: int | None = 1):
        if num_workers is not None and num_workers < 1:
            raise ValueError(f"num_workers={num_workers}, want at least 1")
        if limits.timeout is not None and num_workers == 1:
            raise ValueError(
                f"timeout={limits.timeout}: a call in this process cannot be interrupted; set num_workers=2 or "
                "more, or leave it out, or timeout=None"
            )
        if limits.timeout is not None and not limits.timeout > 0:
            raise ValueError(f"timeout={limits.timeout}, want a number of seconds above 0, or None")
        self.factory, self.limits, self.num_workers = factory, limits, num_workers
        self._idle: dict[int, EnvBatch | WorkerPool] = {}  # by batch size
        weakref.finalize(self, _close_all, self._idle, os.getpid())

    def reset(self, batch: int, rng: torch.Generator, num_workers: int | None = None) -> tuple["EnvHandle", EnvStep]:
        """Starts new episodes, with seeds sampled from rng.

        Args:
            batch: the number of copies B.
            rng: the random generator.
            num_workers: of new copies; None: that of the pool.

        Raises:
            ValueError: `batch` below 1.
            EnvError: an environment raised, timed out, or returned a non-finite value.
        """
        if batch < 1:
            raise ValueError(f"batch={batch}, want at least 1")
        copies = _LeasedEnvs(self._idle.pop(batch) if batch in self._idle else self._make(batch, num_workers))
        weakref.finalize(copies, _return_to_pool, copies.rows, batch, copies.broken, weakref.ref(self), os.getpid())
        return EnvHandle(copies, 0).restart(torch.ones(batch, dtype=torch.bool), rng)

    def close_idle(self) -> None:
        """Closes the copies that are not in use."""
        _close_all(self._idle, os.getpid())

    def _make(self, batch: int, num_workers: int | None) -> EnvBatch | WorkerPool:
        count = num_workers or self.num_workers or 1
        if count == 1 and self.limits.timeout is None:
            return EnvBatch(self.factory, range(batch), self.limits)
        return WorkerPool(self.factory, batch, self.limits, count)


class EnvHandle:
    """Handle to the current state of a batch of copies; invalid once the copies are stepped again.

    Of the functions of `experts.state` only `detach` accepts it.

    Args:
        copies: the batch of copies.
        version: the number of calls to the copies so far.
    """

    def __init__(self, copies: "_LeasedEnvs", version: int):
        self._copies, self._handle_version = copies, version

    def step(self, action: Any) -> tuple["EnvHandle", EnvStep]:
        """Advances all copies whose episodes have not ended by one step.

        Args:
            action: actions of all rows: an array with a leading axis, or a list.

        Raises:
            EnvError: an environment raised, timed out, or returned a non-finite value; with its row, seed, step and
                traceback.
            RuntimeError: this handle is not the current one.
        """
        copies = self._check_current()
        step = copies.call(lambda: copies.rows.step(action))
        return EnvHandle(copies, copies.version), step

    def restart(self, mask: Bool[Tensor, " B"], rng: torch.Generator) -> tuple["EnvHandle", EnvStep]:
        """Starts new episodes in the masked rows and repeats the last step of the others.

        Seeds are sampled for all rows, so that the seed of a row does not depend on the other rows.

        Args:
            mask: the rows to reset.
            rng: the random generator of the seeds.

        Raises:
            EnvError: as `step`.
            RuntimeError: this handle is not the current one.
        """
        copies, rows = self._check_current(), mask.cpu().numpy()
        seeds = torch.randint(2**31 - 1, mask.shape, generator=rng, device=rng.device).cpu().numpy()
        if not rows.any():
            return self, copies.last_step
        step = copies.call(lambda: copies.rows.reset(rows, seeds))
        return EnvHandle(copies, copies.version), step

    def _check_current(self) -> "_LeasedEnvs":
        if self._handle_version != self._copies.version:
            raise RuntimeError(
                f"this state is version {self._handle_version} of {self._copies.name}, whose copies are at version "
                f"{self._copies.version}: external environments cannot be rolled out twice from one state. Continue "
                "from the latest carry, or reset; a learner with grad_checkpoint_steps replays steps, leave it out"
            )
        return self._copies

    def detach(self) -> "EnvHandle":
        """The handle itself, which has no gradient."""
        return self

    def _unsupported(self, *args: Any) -> NoReturn:
        """Not supported, as handles cannot be copied, mixed or packed.

        Raises:
            TypeError: always.
        """
        raise TypeError(
            f"{self._copies.name} is an external environment: its state is a handle, which cannot be copied, mixed or "
            "packed; start new episodes with task.reset instead"
        )

    where = index = fold = unfold = pack = unpack = _unsupported


class _LeasedEnvs:
    """A batch in use; when the last reference is gone, its rows return to the pool."""

    def __init__(self, rows: EnvBatch | WorkerPool):
        self.rows, self.version, self.broken = rows, 0, [False]
        self.last_step: EnvStep

    @property
    def name(self) -> str:
        return self.rows.limits.name

    def call(self, call: Callable[[], dict[str, Any]]) -> EnvStep:
        self.version += 1  # also on an error, as some rows may have advanced
        try:
            results = call()
        except BaseException:
            self.broken[0] = True
            self.rows.kill()
            raise
        self.last_step = EnvStep(**results)
        return self.last_step


def _return_to_pool(
    rows: EnvBatch | WorkerPool, batch: int, broken: list[bool], owner: "weakref.ref[EnvPool]", process: int
) -> None:
    """Keeps one idle batch of each size and closes others."""
    if broken[0] or os.getpid() != process:  # broken, or owned by the parent of a fork
        return
    pool = owner()
    if pool is None or batch in pool._idle:
        rows.close()
    else:
        pool._idle[batch] = rows


def _close_all(idle: dict[int, EnvBatch | WorkerPool], process: int) -> None:
    while idle and os.getpid() == process:
        idle.popitem()[1].close()
