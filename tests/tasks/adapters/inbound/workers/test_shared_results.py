"""Results in shared memory: the same as by message, never overwritten, and freed however the processes end."""

import gc
import os
from copy import deepcopy
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete, Text, Tuple
from numpy.testing import assert_array_equal, assert_equal

import toy_worlds
from tasks import EnvError, EnvLimits, EnvPool
from tasks.adapters.inbound.workers import memory_file
from tasks.adapters.inbound.workers.shared_results import Layout, SharedResults

MIXED = Dict(word=Text(5), place=Box(-1, 1, (2, 3), np.float32), pair=Tuple((Discrete(4), Box(0, 255, (2,), np.uint8))))
LINUX = pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="wants /proc")


def reset(factory, num_workers=2, **limits):
    pool = EnvPool(factory, EnvLimits("Toy-v0", **limits), num_workers=num_workers)
    return pool.reset(4, torch.Generator().manual_seed(0))


def play(factory, num_workers):
    """The results of a reset, two steps, a restart of row 2, and another step."""
    handle, first = reset(factory, num_workers)
    results = [first]
    for t in range(3):
        handle, step = handle.step(np.arange(4))
        results.append(step)
        if t == 1:
            mask = torch.arange(4) == 2
            handle, step = handle.restart(mask, torch.Generator().manual_seed(1))
            results.append(step)
    return results


def mixed():
    return toy_worlds.Shown(deepcopy(MIXED))


def arrays(value):
    """All arrays in nested dicts, tuples and lists."""
    if isinstance(value, np.ndarray):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, tuple | list) else ()
    return [array for part in parts for array in arrays(part)]


@pytest.mark.parametrize("factory", [toy_worlds.Counter, toy_worlds.Rooms, mixed])
def test_workers_return_the_results_of_one_process(factory):
    for one, other in zip(play(factory, 1), play(factory, 2), strict=True):
        assert_equal(other._asdict(), one._asdict())


@pytest.mark.parametrize("factory", [toy_worlds.Counter, toy_worlds.Rooms, mixed])
def test_no_array_goes_through_a_pipe_after_the_first_results(factory):
    handle, _ = reset(factory)
    handle.step(np.zeros(4, int))
    assert not arrays(handle._copies.rows.answers)


def test_results_are_not_overwritten_by_later_steps():
    handle, first = reset(toy_worlds.Counter)
    kept = first.obs.copy()
    handle, second = handle.step(np.zeros(4, int))
    handle.step(np.ones(4, int))
    assert_array_equal(first.obs, kept)
    assert second.obs[:, 1].tolist() == [1] * 4 and not second.reward.any()


def test_without_room_in_shared_memory_results_are_sent(monkeypatch):
    monkeypatch.setattr(memory_file.os, "posix_fallocate", lambda *size: (_ for _ in ()).throw(OSError("full")))
    for one, other in zip(play(mixed, 1), play(mixed, 2), strict=True):
        assert_equal(other._asdict(), one._asdict())


def test_workers_that_have_no_row_to_restart_are_not_asked():
    handle, _ = reset(toy_worlds.Counter)
    rows = handle._copies.rows
    sent = []
    send, rows._send = rows._send, lambda worker, request: sent.append(worker) or send(worker, request)
    handle.restart(torch.arange(4) == 3, torch.Generator())
    assert sent == [1]


def test_arrays_of_a_layout_do_not_overlap():
    results = {"a": np.zeros((2, 3), np.uint8), "b": (np.zeros(2), ["x", "y"]), "c": np.zeros((2, 0))}
    places = Layout(results, 4).places
    assert places["a"].shape == (4, 3) and places["b"][0].offset >= places["a"].end and places["b"][1] is None


def test_without_memory_arrays_and_texts_of_workers_are_joined():
    answers = [{"obs": (np.array([i]), [str(i)]), "mask": None} for i in range(2)]
    assert_equal(SharedResults().read(answers), {"obs": (np.array([0, 1]), ["0", "1"]), "mask": None})


# Nothing is left over


def mapped():
    """Files without a name that this process maps or has open."""
    maps = [
        line.split(maxsplit=5)[5] for line in Path("/proc/self/maps").read_text().splitlines() if "(deleted)" in line
    ]
    return sorted(maps), len(os.listdir("/proc/self/fd"))


def named():
    return sorted(os.listdir("/dev/shm"))


@LINUX
def test_shared_memory_never_has_a_name_that_could_be_left_over():
    before, unused = named(), mapped()
    handle, _ = reset(toy_worlds.Counter)
    handle.step(np.zeros(4, int))
    assert named() == before and len(mapped()[0]) > len(unused[0])


@LINUX
@pytest.mark.parametrize("failure", [toy_worlds.die, toy_worlds.ignore_interrupts, KeyboardInterrupt])
def test_shared_memory_is_freed_after_a_death_a_timeout_and_an_interrupt(failure, monkeypatch):
    reset(toy_worlds.Counter)  # maps what multiprocessing keeps
    gc.collect()
    before = mapped()
    handle, _ = reset(partial(toy_worlds.Obeying, failure), timeout=0.2)
    processes = handle._copies.rows.processes
    if failure is KeyboardInterrupt:
        monkeypatch.setattr(handle._copies.rows, "_receive", lambda *arguments: (_ for _ in ()).throw(failure))
    with pytest.raises((EnvError, KeyboardInterrupt)) as caught:
        handle.step(np.array([3, 0, 0, 0]))
    assert not any(process.is_alive() for process in processes)
    del handle, caught, processes
    monkeypatch.undo()
    gc.collect()
    assert mapped() == before
