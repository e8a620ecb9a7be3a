"""Times and memory of pieces of work, measured side by side.

Whatever slows a machine down comes and goes, so rivals take turns (A B A B ...) and are compared within a turn.
"""

import contextlib
import ctypes
import gc
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TypeAlias

import torch

Work: TypeAlias = Callable[[], object]
Prepare: TypeAlias = Callable[[], Work]  # makes everything ready, untimed, and gives what is to be timed

_MMAP_THRESHOLD = -3  # of <malloc.h>


def no_setup(work: Work) -> Prepare:
    """For work that needs nothing to be made ready."""
    return lambda: work


def time_interleaved(
    sides: Mapping[str, Prepare], *, repeats: int, clock: Callable[[], float]
) -> dict[str, list[float]]:
    """The seconds that each side's work takes, `repeats` times in turn, after one turn that is not counted.

    Garbage is collected between the works, and what a work returns is freed within its time.

    Raises:
        ValueError: repeats < 1.
    """
    if repeats < 1:
        raise ValueError(f"repeats={repeats}, want at least 1")
    for prepare in sides.values():
        prepare()()
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, prepare in sides.items():
            work = prepare()
            gc.collect()
            begun = clock()
            work()
            seconds[name].append(clock() - begun)
            del work  # and what it holds, before the next one makes its own
    return seconds


def wall_clock(device: torch.device) -> Callable[[], float]:
    """A clock that waits until the device has done what it was given, in seconds."""
    return partial(_waited, device) if device.type == "cuda" else time.perf_counter


def _waited(device: torch.device) -> float:
    torch.cuda.synchronize(device)
    return time.perf_counter()


def peak_memory(prepare: Prepare, warm_up: Prepare, device: torch.device) -> float:
    """By how much the work raises the peak memory of a process of its own, in MB; the device's memory on a GPU.

    warm_up: the same at a small size, so that libraries and thread pools are there before. Both must be picklable.

    Raises:
        concurrent.futures.process.BrokenProcessPool: the process died, most likely for want of memory.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_rise, prepare, warm_up, device, torch.get_num_threads()).result()


def _rise(prepare: Prepare, warm_up: Prepare, device: torch.device, threads: int) -> float:
    torch.set_num_threads(threads)
    _return_what_is_free()
    warm_up()()
    work = prepare()
    gc.collect()
    before = _high_water(device, anew=True)
    work()
    return (_high_water(device) - before) / 1e6


def _return_what_is_free() -> None:
    """Makes glibc give large blocks back to the system at once, so that the peak is of what the work holds.

    Else a small tensor that lands in the place of a large one spoils it for the next large one, and the process grows
    by holes: a buffer that is cloned and freed at each step counts as if all its clones were kept.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):  # another C library
        ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, 2**20)


def _high_water(device: torch.device, *, anew: bool = False) -> int:
    """Bytes; anew: counted from what is in use now."""
    if device.type == "cuda":
        if anew:
            torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    if not status.exists():
        import resource  # where there is no /proc. On Linux ru_maxrss would begin at the size of the parent

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    if anew:
        with contextlib.suppress(OSError):  # forbidden in some containers: then the peak of the imports is the floor
            Path("/proc/self/clear_refs").write_text("5")
    (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024
