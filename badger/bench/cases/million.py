"""Cases of one store of a million rows that several members share."""

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
    """`members` queries a step to one store of `slots` rows, a key and a word of `word` numbers each; the controller is
    as large as that of Rae et al. 2016."""

    slots: int = 1_000_000
    members: int = 8
    word: int = 32
    hidden_size: int = 100
    top_k: int = 8
    steps: int = 20
    reference_steps: int = 4  # of 20: the dense computation keeps a copy of the store for each

    def memory(self, device: torch.device) -> EpisodicMemory:
        controller = partial(GRU, hidden_size=self.hidden_size)
        options: dict[str, Any] = {"slots": self.slots, "top_k": self.top_k, "key_size": self.word, "keep": "x"}
        with drawing_from(generator(0, "init")):
            return EpisodicMemory(self.word, controller, **options).to(device)

    def inputs(self, device: torch.device, steps: int) -> Tensor:
        return torch.randn(steps, 1, self.members, self.word, generator=generator(0, "bench")).to(device)

    def content(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Keys and words of a full store, (1, slots, word) each."""
        rows = torch.randn(2, 1, self.slots, self.word, generator=generator(0, "rows")).to(device)
        return rows[0], rows[1]


def filled(memory: EpisodicMemory, keys: Tensor, values: Tensor, x: Tensor) -> EpisodicState:
    """The state of a memory whose next read sees just these rows, (B, slots, .), the oldest first. x (B, N, D)."""
    return memory.initial_state(x)._replace(log=RowLog.from_rows(keys, values, memory.slots))


def badger_work(sizes: MillionSizes, device: torch.device) -> Work:
    """Forward and backward of an episode that begins with a full store."""
    memory, xs = sizes.memory(device), sizes.inputs(device, sizes.steps)
    state = filled(memory, *sizes.content(device), xs[0])
    return lambda: memory.unroll(xs, state)[0].square().mean().backward()


def dense_work(sizes: MillionSizes, device: torch.device) -> Work:
    """The same, of fewer steps, by the dense ring buffer."""
    ring = DenseRing(
        sizes.word, sizes.hidden_size, slots=sizes.slots, top_k=sizes.top_k, key_size=sizes.word, keep="x"
    ).to(device)
    xs, store = sizes.inputs(device, sizes.reference_steps), torch.cat(sizes.content(device), -1)
    return lambda: ring(xs, store).square().mean().backward()


def million_slots(
    device: torch.device, sizes: MillionSizes = MillionSizes(), repeats: int = 3
) -> Iterator[BenchResult]:
    """Exact reads and writes of a full store, against the dense computation: a step, forward and backward."""
    sides = {"ours": partial(badger_work, sizes, device), "dense": partial(dense_work, sizes, device)}
    seconds = measure.time_interleaved(sides, repeats=repeats, clock=measure.wall_clock(device))
    times = [1e3 * s / sizes.steps for s in seconds["ours"]]
    reference = [1e3 * s / sizes.reference_steps for s in seconds["dense"]]
    against = f"dense, {sizes.reference_steps} steps"
    goal = at_most(50, "ms")
    yield BenchResult("million-slots", "ms a step", times, reference, against, goal, f"mean of {sizes.steps} steps")
    goal = at_most(1, "ms")
    gpu = BenchResult("million-slots/gpu", "ms a step", times, reference, against, goal)
    yield on_gpu(device, gpu.name, gpu.unit, goal, lambda: gpu)
    yield on_gpu(device, "million-slots/read", "GB/s", None, lambda: bandwidth(device, sizes, repeats))


def reading(sizes: MillionSizes, device: torch.device) -> Work:
    """An episode that acts only."""
    memory, xs = sizes.memory(device), sizes.inputs(device, sizes.steps)
    state = filled(memory, *sizes.content(device), xs[0])
    return torch.no_grad()(lambda: memory.unroll(xs, state))


def copying(sizes: MillionSizes, device: torch.device) -> Work:
    """The whole store copied, as often as there are steps."""
    content = torch.cat(sizes.content(device), -1)
    target = torch.empty_like(content)
    return lambda: [target.copy_(content) for _ in range(sizes.steps)]


def bandwidth(device: torch.device, sizes: MillionSizes, repeats: int) -> BenchResult:
    """What a step must read, all keys once, in the time that it takes; against a copy, which reads and writes."""
    sides = {"reading": partial(reading, sizes, device), "copying": partial(copying, sizes, device)}
    seconds = measure.time_interleaved(sides, repeats=repeats, clock=measure.wall_clock(device))
    keys = sizes.steps * sizes.slots * sizes.word * 4e-9  # GB; as much again are the words
    rates = [keys / s for s in seconds["reading"]]
    copied = [4 * keys / s for s in seconds["copying"]]
    note = "keys read in the time of whole steps; the ratio is the share of the bandwidth"
    return BenchResult("million-slots/read", "GB/s", rates, copied, "copy", None, note)
