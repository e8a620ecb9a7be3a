"""Worlds outside torch: batched copies of an environment of Gymnasium, for a Task to be written over them.

    worlds = Worlds(factory, Watch("CartPole-v1", steps=500), processes=2)
    world, told = worlds.reset(8, rng)            # 8 copies, seeds drawn from rng
    world, told = world.step(actions)             # a NumPy array, as the copies' vectorised action space has it
    world, told = world.restart(mask, rng)        # new episodes in the rows of mask

A world of ours is a value; these are handles. Each step makes a new handle, and the one before is void: what went on
outside cannot be taken back, nor copied, nor written to a checkpoint.

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

from tasks.adapters.inbound.checked_env import EnvBatch, EnvFactory, EnvLimits
from tasks.adapters.inbound.worker_pool import WorkerPool


class EnvStep(NamedTuple):
    """What the rows of a batch told, in NumPy. obs: of the shape of the vectorised observation space; an array, or
    dicts and tuples of arrays. reward, terminated, truncated: (B,). A row whose episode has ended tells the same again,
    without reward, until it is restarted."""

    obs: Any
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray


class EnvPool:
    """Any number of batches of copies of one world. Those that are no longer used serve again, or are closed.

    Args:
        factory: makes one copy, a `gymnasium.Env`; what worker processes run must survive cloudpickle where they are
            not forked.
        limits: its name in errors, the longest episode, and the longest that a step may take.
        processes: 1: the copies are stepped here, one after the other. More: at most so many workers share the rows,
            as many of them as divide the batch evenly (`gymnasium.vector.AsyncVectorEnv`), for slow worlds.

    Raises:
        ValueError: processes < 1; a timeout without workers, for nothing can interrupt a world that hangs here.
    """

    def __init__(self, factory: EnvFactory, limits: EnvLimits, *, processes: int = 1):
        if processes < 1:
            raise ValueError(f"processes={processes}, want at least 1")
        if limits.timeout is not None and processes == 1:
            raise ValueError(
                f"timeout={limits.timeout}: a world that hangs in this process cannot be stopped; say processes=2 or "
                "more, or leave the timeout out"
            )
        self.factory, self.limits, self.processes = factory, limits, processes
        self._idle: dict[int, EnvBatch | WorkerPool] = {}  # by batch
        weakref.finalize(self, _close_all, self._idle, os.getpid())

    def reset(self, batch: int, rng: torch.Generator) -> tuple["EnvHandle", EnvStep]:
        """New episodes in `batch` copies, whose seeds are drawn from rng."""
        if batch < 1:
            raise ValueError(f"batch={batch}, want at least 1")
        copies = _LeasedEnvs(self._idle.pop(batch) if batch in self._idle else self._made(batch))
        weakref.finalize(copies, _return_to_pool, copies.rows, batch, copies.broken, weakref.ref(self), os.getpid())
        return EnvHandle(copies, 0).restart(torch.ones(batch, dtype=torch.bool), rng)

    def _made(self, batch: int) -> EnvBatch | WorkerPool:
        if self.processes == 1:
            return EnvBatch(self.factory, range(batch), self.limits, os.getpid())
        return WorkerPool(self.factory, batch, self.limits, self.processes)


class EnvHandle:
    """Where a batch of copies stands: a handle, void as soon as the copies have gone on.

    It passes through `experts.state.detach` and through no other verb of states.
    """

    def __init__(self, copies: "_LeasedEnvs", turn: int):
        self._copies, self._turn = copies, turn

    def step(self, action: Any) -> tuple["EnvHandle", EnvStep]:
        """One step of all copies that have not ended.

        Raises:
            WorldError: a world raised, hangs, or told what is no number; with its row, seed, step and traceback.
            RuntimeError: this handle is void.
        """
        copies = self._check_current()
        told = copies.call(lambda: copies.rows.step(action))
        return EnvHandle(copies, copies.version), told

    def restart(self, mask: Bool[Tensor, " B"], rng: torch.Generator) -> tuple["EnvHandle", EnvStep]:
        """New episodes in the rows of mask; the others tell again what they told. Seeds are drawn for all rows, so that
        those of a row do not depend on the others."""
        copies, wanted = self._check_current(), mask.cpu().numpy()
        seeds = torch.randint(2**31 - 1, mask.shape, generator=rng, device=rng.device).tolist()
        if not wanted.any():
            return self, copies.last_step
        told = copies.call(lambda: copies.rows.reset(options={"mask": wanted, "seeds": seeds}))
        return EnvHandle(copies, copies.version), told

    def _check_current(self) -> "_LeasedEnvs":
        if self._turn != self._copies.version:
            raise RuntimeError(
                f"this state is of turn {self._turn} of {self._copies.name}, whose copies have gone on to "
                f"turn {self._copies.version}: worlds outside torch cannot be rolled out twice from the same place. Go on "
                "from the latest carry, or start new episodes; a learner's `segment` plays steps twice, leave it out"
            )
        return self._copies

    def detach(self) -> "EnvHandle":
        return self

    def _unsupported(self, *given: Any) -> NoReturn:
        raise TypeError(
            f"{self._copies.name} runs outside torch: its state is a handle, which cannot be copied, mixed "
            "or packed; start new episodes with task.reset instead"
        )

    where = index = fold = unfold = pack = unpack = _unsupported


class _LeasedEnvs:
    """A batch in use; when nobody holds it any more, its rows serve again."""

    def __init__(self, rows: EnvBatch | WorkerPool):
        self.rows, self.version, self.broken = rows, 0, [False]
        self.last_step: EnvStep

    @property
    def name(self) -> str:
        return self.rows.limits.name

    def call(self, call: Callable[[], tuple]) -> EnvStep:
        self.version += 1  # an error voids the handles, too: some rows may have gone on
        try:
            answer = call()[0]
        except BaseException:
            self.broken[0] = True
            self.rows.kill()
            raise
        flags = {name: answer[name].astype(bool) for name in ("terminated", "truncated")}
        self.last_step = EnvStep(answer["obs"], answer["reward"], **flags)
        return self.last_step


def _return_to_pool(
    rows: EnvBatch | WorkerPool, batch: int, broken: list[bool], owner: "weakref.ref[EnvPool]", process: int
) -> None:
    """To serve again, one batch of each size; closed where it cannot."""
    if broken[0] or os.getpid() != process:  # a fork has copied what is not its own
        return
    worlds = owner()
    if worlds is None or batch in worlds._idle:
        rows.close()
    else:
        worlds._idle[batch] = rows


def _close_all(idle: dict[int, EnvBatch | WorkerPool], process: int) -> None:
    while idle and os.getpid() == process:
        idle.popitem()[1].close()
