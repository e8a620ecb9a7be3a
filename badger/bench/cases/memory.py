"""Benchmarks of the episodic memory: compared with a dense ring buffer, with a GRU, and with longer episodes."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from badger.bench import measure
from badger.bench.measure import Work
from badger.bench.references import DenseRing, dense_read, selected_read
from badger.bench.references.ring import Read
from badger.bench.result import BenchResult, Goal, max_ratio, min_speedup
from badger.rng import drawing_from, generator
from experts import GRU, Core, EpisodicMemory
from experts.state import State

Unroll = Callable[..., tuple[Tensor, State]]


class MemorySizes(NamedTuple):
    """An episode of `steps` steps in `rows` stores of `slots` rows, each with one member."""

    steps: int = 256
    rows: int = 128
    slots: int = 256
    input_size: int = 16
    hidden_size: int = 64
    key_size: int = 32
    top_k: int = 8

    def inputs(self, device: torch.device, *, width: int | None = None) -> Tensor:
        """Random inputs (T, B, 1, D). width: D, if not `input_size`."""
        rng = generator(0, "bench")
        return torch.randn(self.steps, self.rows, 1, width or self.input_size, generator=rng).to(device)


def badger_work(sizes: MemorySizes, device: torch.device, unroll: Unroll = EpisodicMemory.unroll) -> Work:
    """Forward and backward of an episode; the memory stepped eagerly with `unroll=Core.unroll`."""
    with drawing_from(generator(0, "init")):
        memory = EpisodicMemory(
            sizes.input_size,
            partial(GRU, hidden_size=sizes.hidden_size),
            slots=sizes.slots,
            top_k=sizes.top_k,
            key_size=sizes.key_size,
        ).to(device)
    xs = sizes.inputs(device)
    return lambda: _backward(unroll(memory, xs, memory.initial_state(xs[0]))[0])


def dense_work(sizes: MemorySizes, device: torch.device, read: Read = dense_read) -> Work:
    """The same computation with the dense ring buffer."""
    ring = DenseRing(
        sizes.input_size,
        sizes.hidden_size,
        slots=sizes.slots,
        top_k=sizes.top_k,
        key_size=sizes.key_size,
        read=read,
    ).to(device)
    xs = sizes.inputs(device)
    return lambda: _backward(ring(xs))


def gru(sizes: MemorySizes, device: torch.device) -> Work:
    """Forward and backward of torch's GRU, with inputs as wide as [x, recalled value]."""
    width = 2 * sizes.input_size + sizes.hidden_size
    module = nn.GRU(width, sizes.hidden_size).to(device)
    xs = sizes.inputs(device, width=width).squeeze(2)
    return lambda: _backward(module(xs)[0])


def _backward(ys: Tensor) -> None:
    ys.square().mean().backward()


def memory_vs_dense(
    device: torch.device,
    sizes: MemorySizes = MemorySizes(),
    repeats: int = 5,
) -> Iterator[BenchResult]:
    """Time and peak memory of forward and backward, compared with the dense ring buffer."""
    sides = {
        "ours": partial(badger_work, sizes, device),
        "dense": partial(dense_work, sizes, device),
        "selected": partial(dense_work, sizes, device, selected_read),
    }
    seconds = measure.time_interleaved(sides, repeats=repeats, clock=measure.wall_clock(device))
    few = sizes._replace(steps=2)
    small = {
        "ours": partial(badger_work, few, device),
        "dense": partial(dense_work, few, device),
        "selected": partial(dense_work, few, device, selected_read),
    }
    peaks = {name: [measure.peak_memory(side, small[name], device)] for name, side in sides.items()}
    goals = {
        "dense": (min_speedup(8, "faster"), min_speedup(30, "less")),
        "selected": (None, None),
    }
    names = {"dense": "dense ring buffer", "selected": "the same, rows selected without gradient"}
    for name, (faster, less) in goals.items():
        suffix = "" if name == "dense" else f"-{name}"
        yield BenchResult(f"memory-vs-dense/time{suffix}", "s", seconds["ours"], seconds[name], names[name], faster)
        yield BenchResult(f"memory-vs-dense/memory{suffix}", "MB", peaks["ours"], peaks[name], names[name], less)


def memory_vs_gru(device: torch.device, sizes: MemorySizes = MemorySizes(), repeats: int = 7) -> Iterator[BenchResult]:
    """Time of forward and backward, unrolled and stepped eagerly, compared with nn.GRU."""
    sides = {
        "unrolled": partial(badger_work, sizes, device),
        "stepped": partial(badger_work, sizes, device, Core.unroll),
        "gru": partial(gru, sizes, device),
    }
    seconds = measure.time_interleaved(sides, repeats=repeats, clock=measure.wall_clock(device))
    for name, goal in {"unrolled": max_ratio(1.9), "stepped": max_ratio(3.3)}.items():
        yield BenchResult(f"memory-vs-gru/{name}", "s", seconds[name], seconds["gru"], "nn.GRU", goal)


def episode_length(
    device: torch.device,
    sizes: MemorySizes = MemorySizes(rows=32),
    lengths: tuple[int, int] = (1024, 16_384),
    repeats: int = 3,
) -> Iterator[BenchResult]:
    """Time and peak memory per row and step of a long episode, compared with a shorter one."""
    short, long = (partial(badger_work, sizes._replace(steps=steps), device) for steps in lengths)
    seconds = measure.time_interleaved(
        {"short": short, "long": long}, repeats=repeats, clock=measure.wall_clock(device)
    )
    few = partial(badger_work, sizes._replace(steps=2), device)
    weights = [1 / (steps * sizes.rows) for steps in lengths]
    times = [[1e6 * s * weight for s in seconds[name]] for name, weight in zip(seconds, weights, strict=True)]
    peaks = [
        [1e3 * measure.peak_memory(side, few, device) * weight]
        for side, weight in zip((short, long), weights, strict=True)
    ]
    reference_name, note = f"T = {lengths[0]}", f"T = {lengths[1]}, {sizes.slots} slots"
    linear = Goal("linear: <= 1.1x", "ratio", maximum=1.1)
    yield BenchResult("episode-length/time", "us a row-step", times[1], times[0], reference_name, max_ratio(1.1), note)
    yield BenchResult("episode-length/memory", "kB a row-step", peaks[1], peaks[0], reference_name, linear, note)
