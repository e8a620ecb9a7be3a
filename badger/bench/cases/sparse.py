"""Benchmarks of sparse memories: time and memory of large stores, and of sparse links beside dense ones."""

from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from badger.bench import measure
from badger.bench.measure import Work
from badger.bench.references import DenseAccess
from badger.bench.result import BenchResult, at_least, at_most, min_speedup
from badger.rng import drawing_from, generator
from experts import DNC, LSTM, SAM, SDNC, Core
from experts.sparse.sam import SAMState
from experts.sparse.slots import Slots

CLUSTER_NOISE, QUERY_NOISE = 0.5, 0.1
"""Standard deviations of a word around its center, of norm 1 in each number, and of a query around a word."""


class SparseSizes(NamedTuple):
    """An episode of `steps` steps of one member in a full store; the sizes of Rae et al. 2016, section 4.1.

    `memory_slots` and `memory_steps`: of the measurement of peak memory.
    """

    slots: int = 1_000_000
    steps: int = 20
    reference_steps: int = 4  # of 20: the dense computation keeps several copies of the store for each step
    memory_slots: int = 65_536
    memory_steps: int = 100
    slot_size: int = 32
    heads: int = 4
    input_size: int = 16
    hidden_size: int = 100

    def core(self, device: torch.device, index: Literal["exact", "ivf"] = "exact") -> SAM:
        """The memory."""
        controller = partial(LSTM, hidden_size=self.hidden_size)
        sizes = {"slots": self.slots, "slot_size": self.slot_size, "heads": self.heads}
        with drawing_from(generator(0, "init")):
            return SAM(self.input_size, controller, **sizes, index=index).to(device)

    def inputs(self, device: torch.device, steps: int) -> Tensor:
        """Random inputs (T, 1, 1, D)."""
        return torch.randn(steps, 1, 1, self.input_size, generator=generator(0, "bench")).to(device)

    def content(self, device: torch.device) -> Tensor:
        """A full store (1, slots, slot_size)."""
        return torch.randn(1, self.slots, self.slot_size, generator=generator(0, "rows")).to(device)

    def clusters(self, device: torch.device) -> Tensor:
        """A full store whose words lie around one center for each hundred of them."""
        rng = generator(0, "clusters")
        centers = torch.randn(1 + self.slots // 100, self.slot_size, generator=rng).to(device)
        chosen = torch.randint(len(centers), (self.slots,), generator=rng).to(device)
        return (centers[chosen] + CLUSTER_NOISE * self.content(device)).view(1, self.slots, -1)


def badger_work(sizes: SparseSizes, device: torch.device, index: Literal["exact", "ivf"] = "exact") -> Work:
    """Forward and backward of an episode that starts with a full store, which every round fills, and lists, anew."""
    core, xs = sizes.core(device, index), sizes.inputs(device, sizes.steps)
    start: list[SAMState] = [core.initial_state(xs[0])._replace(slots=Slots.filled(sizes.content(device), core.ivf))]
    start[0].slots.nearest(torch.zeros(1, 1, sizes.slot_size, device=device), 1)  # makes the lists
    return lambda: core.unroll(xs, start.pop())[0].square().mean().backward()


def recall(sizes: SparseSizes, content: Tensor, queries: int = 200) -> float:
    """Fraction of the words that exact search finds which the index finds, too; queries are words with noise."""
    core = sizes.core(content.device, "ivf")
    slots = Slots.filled(content, core.ivf)
    words = content[:, torch.randperm(sizes.slots, generator=generator(0, "queries"))[:queries]]
    query = words + QUERY_NOISE * torch.randn(words.shape, generator=generator(0, "noise")).to(words)
    sides = slots, Slots.filled(content)
    found, exact = (torch.cat([side.nearest(q, core.top_k) for q in query.split(sizes.heads, 1)], 1) for side in sides)
    return (found.unsqueeze(-1) == exact.unsqueeze(-2)).any(-1).double().mean().item()


def dense_work(sizes: SparseSizes, device: torch.device) -> Work:
    """The same with all slots in each operation, for fewer steps."""
    dense = DenseAccess(sizes.input_size, sizes.hidden_size, slot_size=sizes.slot_size, heads=sizes.heads).to(device)
    xs, content = sizes.inputs(device, sizes.reference_steps).squeeze(2), sizes.content(device)
    return lambda: dense(xs, content).square().mean().backward()


def sam_million(device: torch.device, sizes: SparseSizes = SparseSizes(), repeats: int = 3) -> Iterator[BenchResult]:  # noqa: B008
    """Time of a step, forward and backward, of a store with a million slots; and the memory of an episode."""
    sides = {"ours": partial(badger_work, sizes, device), "dense": partial(dense_work, sizes, device)}
    if find_spec("faiss"):
        sides["ivf"] = partial(badger_work, sizes, device, "ivf")
    seconds = measure.time_interleaved(sides, repeats=repeats, clock=measure.wall_clock(device))
    times = [1e3 * s / sizes.steps for s in seconds["ours"]]
    reference = [1e3 * s / sizes.reference_steps for s in seconds["dense"]]
    name = f"dense access, {sizes.reference_steps} steps"
    note = f"mean of {sizes.steps} steps, exact search"
    yield BenchResult("sam-million", "ms a step", times, reference, name, at_most(30, "ms"), note)
    if "ivf" in sides:
        listed, note = [1e3 * s / sizes.steps for s in seconds["ivf"]], f"mean of {sizes.steps} steps, index=ivf"
        yield BenchResult("sam-million/ivf", "ms a step", listed, times, "exact search", at_most(10, "ms"), note)
        stores = {"clusters": sizes.clusters(device), "random": sizes.content(device)}
        for store, content in stores.items():
            found, goal = [recall(sizes, content)], at_least(0.9, "recall") if store == "clusters" else None
            yield BenchResult(f"sam-million/ivf/{store}", "recall at 4", found, goal=goal, note=f"{store} of words")
    small = sizes._replace(slots=sizes.memory_slots, steps=sizes.memory_steps)
    warm_up = sizes._replace(slots=8, steps=2)
    peak = measure.peak_memory(partial(badger_work, small, device), partial(badger_work, warm_up, device), device)
    note = f"beyond the store, {small.slots} slots, {small.steps} steps"
    yield BenchResult("sam-million/memory", "MB", [peak], goal=at_most(50, "MB"), note=note)


class LinkSizes(NamedTuple):
    """An episode of `steps` steps in `rows` stores; the sizes of the benchmark `dnc` but for steps and slots."""

    steps: int = 10
    rows: tuple[int, ...] = (1, 8)
    slots: int = 2048
    slot_size: int = 32
    heads: int = 4
    input_size: int = 16
    hidden_size: int = 100


def core_work(memory: Callable[..., Core], sizes: LinkSizes, rows: int, device: torch.device) -> Work:
    """Forward and backward of an episode of a memory with an LSTM."""
    controller = partial(LSTM, hidden_size=sizes.hidden_size)
    options = {"slots": sizes.slots, "slot_size": sizes.slot_size, "heads": sizes.heads}
    with drawing_from(generator(0, "init")):
        core = memory(sizes.input_size, controller, **options).to(device)
    xs = torch.randn(sizes.steps, rows, 1, sizes.input_size, generator=generator(0, "bench")).to(device)
    return lambda: core.unroll(xs, core.initial_state(xs[0]))[0].square().mean().backward()


def sdnc_vs_dnc(device: torch.device, sizes: LinkSizes = LinkSizes(), repeats: int = 5) -> Iterator[BenchResult]:  # noqa: B008
    """Forward and backward of an episode, compared with our DNC, whose links are dense."""
    for rows in sizes.rows:
        memories: dict[str, Callable[..., Core]] = {"ours": SDNC, "dnc": DNC}
        sides = {name: partial(core_work, memory, sizes, rows, device) for name, memory in memories.items()}
        seconds = measure.time_interleaved(sides, repeats=repeats, clock=measure.wall_clock(device))
        goal, note = min_speedup(20, "faster"), f"{sizes.slots} slots, {sizes.steps} steps"
        yield BenchResult(f"sdnc-vs-dnc/{rows}-stores", "s", seconds["ours"], seconds["dnc"], "our DNC", goal, note)
