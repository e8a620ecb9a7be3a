"""Alternating measurement of time, and peak memory of a function in a separate process.

A machine may be slower for some time. Therefore the functions that are compared take turns (A B A B ...), and results
are compared within a turn.
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
"""The computation that is measured."""

Prepare: TypeAlias = Callable[[], Work]
"""Untimed setup, which returns the computation to measure."""

_MMAP_THRESHOLD = -3  # of <malloc.h>


def no_setup(work: Work) -> Prepare:
    """A `Prepare` for a computation that needs no setup.

    Args:
        work: the computation.
    """
    return lambda: work


def time_interleaved(
    sides: Mapping[str, Prepare], *, repeats: int, clock: Callable[[], float]
) -> dict[str, list[float]]:
    """Seconds that each computation takes, measured alternately after one warm-up round.

    Garbage is collected before each computation. Freeing what a computation returns is part of its time.

    Args:
        sides: by name, what is compared.
        repeats: rounds that are counted.
        clock: returns seconds.

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
            start_time = clock()
            work()
            seconds[name].append(clock() - start_time)
            del work  # frees its tensors before the next one is prepared
    return seconds


def wall_clock(device: torch.device) -> Callable[[], float]:
    """A clock in seconds that first waits for all work queued on the device.

    Args:
        device: the CPU, or a GPU that is synchronized.
    """
    return partial(_synchronized_time, device) if device.type == "cuda" else time.perf_counter


def _synchronized_time(device: torch.device) -> float:
    torch.cuda.synchronize(device)
    return time.perf_counter()


def peak_memory(prepare: Prepare, warm_up: Prepare, device: torch.device) -> float:
    """Increase of the peak memory during a computation, in MB, measured in a separate process.

    Args:
        prepare: the computation; picklable.
        warm_up: the same at a small size, so that libraries and thread pools are loaded before; picklable.
        device: the CPU, for resident memory of the process; or a GPU, for its allocated memory.

    Raises:
        concurrent.futures.process.BrokenProcessPool: the process died, most likely because memory ran out.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_peak_increase, prepare, warm_up, device, torch.get_num_threads()).result()


def _peak_increase(prepare: Prepare, warm_up: Prepare, device: torch.device, threads: int) -> float:
    torch.set_num_threads(threads)
    _release_freed_blocks()
    warm_up()()
    work = prepare()
    gc.collect()
    previous = _high_water_mark(device, reset=True)
    work()
    return (_high_water_mark(device) - previous) / 1e6


def _release_freed_blocks() -> None:
    """Makes glibc return large blocks to the system when they are freed, so that the peak is that of live tensors.

    Otherwise a small tensor that is allocated in the gap of a large one makes the gap too small for the next large
    tensor, and the heap fragments: a buffer that is cloned and freed at each step counts as if every clone were kept.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):  # another C library
        ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, 2**20)


def _high_water_mark(device: torch.device, *, reset: bool = False) -> int:
    """Peak memory in bytes. reset: the peak is first reset to the memory in use."""
    if device.type == "cuda":
        if reset:
            torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    if not status.exists():
        import resource  # where there is no /proc. On Linux ru_maxrss would start at the size of the parent

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    if reset:
        with contextlib.suppress(OSError):  # forbidden in some containers: then the peak of the imports is the floor
            Path("/proc/self/clear_refs").write_text("5")
    (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024
