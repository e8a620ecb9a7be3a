"""The number of worker processes for copies of an environment, where none is given: by the time that a step takes.

Workers pay where a step takes about a millisecond or more; below that, messages cost what they save. So a few steps of
one more copy are timed, with random legal actions. The copies that are used are not touched: which episodes they play
depends on their seeds alone, and not on the number of workers.
"""

import multiprocessing
import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tasks.task import ActionSpace, Continuous, Discrete, Mixed, Step, Task

MIN_STEP_SECONDS = 1e-3
"""The duration of a step from which on workers pay."""
TIMED_STEPS, MAX_SECONDS = 12, 0.5


def choose_num_workers(batch: int, timeout: float | None, step_seconds: Callable[[], float]) -> int:
    """The number of workers for a batch of copies: never more than copies or cores.

    With a timeout there is at least one, as a call in this process cannot be interrupted.

    Args:
        batch: the number of copies.
        timeout: of a step.
        step_seconds: returns the duration of a step; called only where there may be several workers.
    """
    most = min(batch, available_cores())
    if timeout is not None or (most > 1 and step_seconds() >= MIN_STEP_SECONDS):
        return most
    return 1


def available_cores() -> int:
    """The cores for the workers of this process: those of the machine are divided by its ranks; 1 in a daemon process,
    which may not have children."""
    if multiprocessing.current_process().daemon:
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", 1)))


def measure_step(task: Task, name: str) -> float:
    """The duration in seconds of a step of one copy, in this process; 0 if it fails.

    It is the lower quartile of a few steps, as other processes only add to it. What was found is printed to standard
    error.

    Args:
        task: of an external environment.
        name: of the environment.
    """
    rng, seconds, end = torch.Generator().manual_seed(0), [0.0], time.perf_counter() + MAX_SECONDS
    with _kept_global_generators(), suppress(Exception):  # the copies that are used will raise it, too
        state, step = task.reset(1, rng)
        while len(seconds) <= TIMED_STEPS and (len(seconds) == 1 or time.perf_counter() < end):
            action, start = _random_action(task.action_space, step, rng), time.perf_counter()
            state, after = task.step(state, action, rng)
            seconds.append(time.perf_counter() - start)
            over = (step.terminated | step.truncated).reshape(1, -1).all(-1)
            state, step = task.restart(state, over, rng) if over.any() else (state, after)
    found = sorted(seconds)[(len(seconds) + 2) // 4]  # the first is 0
    if int(os.environ.get("RANK", 0)) == 0:
        where = f"in up to {available_cores()} workers" if found >= MIN_STEP_SECONDS else "in this process"
        print(f"{name}: a step takes {found * 1000:.2g} ms, so copies are stepped {where}", file=sys.stderr, flush=True)
    return found


def _random_action(space: ActionSpace, step: Step, rng: torch.Generator) -> Tensor:
    """One legal action, (1, *P), (1, *P, k), (1, *P, size) or (1, *P, k + size)."""
    rows = step.reward.shape
    if isinstance(space, Mixed):
        parts = [_random_action(part, step, rng) for part in (space.choices, space.numbers)]
        return torch.cat([part.to(parts[1].dtype) for part in parts], -1)
    if isinstance(space, Continuous):
        numbers = 2 * torch.rand(*rows, space.size, generator=rng) - 1
        return numbers.clamp(space.low, space.high)
    nvec = [space.size] if isinstance(space, Discrete) else list(space.nvec)
    mask = torch.ones(*rows, sum(nvec)) if step.action_mask is None else step.action_mask.float()
    choices = [part.flatten(0, -2).multinomial(1, generator=rng).reshape(rows) for part in mask.split(nvec, -1)]
    return choices[0] if isinstance(space, Discrete) else torch.stack(choices, -1)


@contextmanager
def _kept_global_generators() -> Iterator[Any]:
    """Restores the global generators of Python and NumPy, from which some environments draw."""
    states = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
