"""Benchmarks of an episodic memory with a million rows that several members share."""

from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from badger.bench import measure
from badger.bench.measure import Work
from badger.bench.references import DenseRing
from badger.bench.result import BenchResult, at_most, on_gpu
from badger.rng import drawing_from, generator
from experts import GRU, EpisodicMemory, RowLog
from experts.episodic.memory import EpisodicState


class MillionSizes(NamedTuple):
    """Sizes: `members` queries per step to one store of `slots` rows, each a key and a word of `word` numbers.

    The controller is as large as that of Rae et al. 2016.
    """

    slots: int = 1_000_000
    members: int = 8
    word: int = 32
    hidden_size: int = 100
    top_k: int = 8
    steps: int = 20
    reference_steps: int = 4  # of 20: the dense computation keeps one copy of the store per step

    def memory(self, device: torch.device) -> EpisodicMemory:
        """The episodic memory."""
        controller = partial(GRU, hidden_size=self.hidden_size)
        options: dict[str, Any] = {"slots": self.slots, "top_k": self.top_k, "key_size": self.word, "row_content": "x"}
        with drawing_from(generator(0, "init")):
            return EpisodicMemory(self.word, controller, **options).to(device)

    def inputs(self, device: torch.device, steps: int) -> Tensor:
        """Random inputs (T, 1, N, D)."""
        return torch.randn(steps, 1, self.members, self.word, generator=generator(0, "bench")).to(device)

    def content(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Keys and words of a full store, each (1, slots, word)."""
        rows = torch.randn(2, 1, self.slots, self.word, generator=generator(0, "rows")).to(device)
        return rows[0], rows[1]


def filled_state(memory: EpisodicMemory, keys: Tensor, values: Tensor, x: Tensor) -> EpisodicState:
    """State of a memory that is filled with rows (B, slots, .), the oldest first.

    Args:
        memory: the memory.
        keys: keys of the rows.
        values: values of the rows.
        x: an input (B, N, D), for sizes, device and dtype.
    """
    return memory.initial_state(x)._replace(log=RowLog.from_rows(keys, values, memory.slots))


def badger_work(sizes: MillionSizes, device: torch.device) -> Work:
    """Forward and backward of an episode that starts with a full store."""
    memory, xs = sizes.memory(device), sizes.inputs(device, sizes.steps)
    state = filled_state(memory, *sizes.content(device), xs[0])
    return lambda: memory.unroll(xs, state)[0].square().mean().backward()


def dense_work(sizes: MillionSizes, device: torch.device) -> Work:
    """The same with the dense ring buffer, for fewer steps."""
    ring = DenseRing(
        sizes.word, sizes.hidden_size, slots=sizes.slots, top_k=sizes.top_k, key_size=sizes.word, row_content="x"
    ).to(device)
    xs, store = sizes.inputs(device, sizes.reference_steps), torch.cat(sizes.content(device), -1)
    return lambda: ring(xs, store).square().mean().backward()


def million_slots(
    device: torch.device,
    sizes: MillionSizes = MillionSizes(),
    repeats: int = 3,
) -> Iterator[BenchResult]:
    """Time of a step, forward and backward, with exact reads of a full store, compared with the dense computation."""
    sides = {"ours": partial(badger_work, sizes, device), "dense": partial(dense_work, sizes, device)}
    seconds = measure.time_interleaved(sides, repeats=repeats, clock=measure.wall_clock(device))
    times = [1e3 * s / sizes.steps for s in seconds["ours"]]
    reference = [1e3 * s / sizes.reference_steps for s in seconds["dense"]]
    reference_name = f"dense, {sizes.reference_steps} steps"
    goal = at_most(50, "ms")
    yield BenchResult(
        "million-slots", "ms a step", times, reference, reference_name, goal, f"mean of {sizes.steps} steps"
    )
    goal = at_most(1, "ms")
    gpu = BenchResult("million-slots/gpu", "ms a step", times, reference, reference_name, goal)
    yield on_gpu(device, gpu.name, gpu.unit, goal, lambda: gpu)
    yield on_gpu(device, "million-slots/read", "GB/s", None, lambda: bandwidth(device, sizes, repeats))


def acting_work(sizes: MillionSizes, device: torch.device) -> Work:
    """An episode without gradients."""
    memory, xs = sizes.memory(device), sizes.inputs(device, sizes.steps)
    state = filled_state(memory, *sizes.content(device), xs[0])
    return torch.no_grad()(lambda: memory.unroll(xs, state))


def copy_work(sizes: MillionSizes, device: torch.device) -> Work:
    """A copy of the whole store for each step."""
    content = torch.cat(sizes.content(device), -1)
    target = torch.empty_like(content)
    return lambda: [target.copy_(content) for _ in range(sizes.steps)]


def bandwidth(device: torch.device, sizes: MillionSizes, repeats: int) -> BenchResult:
    """Memory bandwidth of a step, which reads all keys once, compared with a copy, which reads and writes."""
    sides = {"acting": partial(acting_work, sizes, device), "copy": partial(copy_work, sizes, device)}
    seconds = measure.time_interleaved(sides, repeats=repeats, clock=measure.wall_clock(device))
    keys = sizes.steps * sizes.slots * sizes.word * 4e-9  # GB; the words are as large
    rates = [keys / s for s in seconds["acting"]]
    copy_rates = [4 * keys / s for s in seconds["copy"]]
    note = "keys read in the time of whole steps; the ratio is the fraction of the copy's bandwidth"
    return BenchResult("million-slots/read", "GB/s", rates, copy_rates, "copy", None, note)
