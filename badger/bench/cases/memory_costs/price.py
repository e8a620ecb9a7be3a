"""Benchmark of the price of every registered memory: time and memory of a step, compared with a GRU."""

import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from statistics import median
from typing import Any, NamedTuple

import torch

from badger.bench import measure
from badger.bench.cases.memory_costs.lengths import LengthSizes, training_step
from badger.bench.result import BenchResult
from badger.runs.milestones import markdown_table
from experts.cores import general_memories

NAME, GRU = "memory-price", "gru"
SIZES = LengthSizes(rows=16, input_size=16, hidden_size=32)
LENGTHS = (100, 400)


def memory_price(
    device: torch.device,
    cores: Sequence[str] = (),
    sizes: LengthSizes = SIZES,
    lengths: Sequence[int] = LENGTHS,
    repeats: int = 5,
) -> Iterator[BenchResult]:
    """Time of a step and peak memory of an episode, forward and backward, compared with a GRU of the same hidden size.

    Of each core in turn, alternately with the GRU: two rows for each length, `memory-price/time-100/dnc` and
    `memory-price/memory-100/dnc`. On a CPU the time is that of the process, which other processes hardly change.
    `price_table` makes one line for each core of them.
    """
    clock = time.process_time if device.type == "cpu" else measure.wall_clock(device)
    few = {core: partial(training_step, core, 2, sizes, device) for core in (GRU, *general_memories())}
    gru_peaks: dict[int, float] = {}
    for core in cores or [name for name in few if name != GRU]:
        for steps in lengths:
            ours, gru = (partial(training_step, name, steps, sizes, device) for name in (core, GRU))
            seconds = measure.time_interleaved({"ours": ours, "gru": gru}, repeats=repeats, clock=clock)
            times = {side: [1e6 * s / steps for s in seconds[side]] for side in seconds}
            yield BenchResult(f"{NAME}/time-{steps}/{core}", "us a step", times["ours"], times["gru"], "GRU")
            if steps not in gru_peaks:
                gru_peaks[steps] = measure.peak_memory(gru, few[GRU], device)
            peak = measure.peak_memory(ours, few[core], device)
            yield BenchResult(f"{NAME}/memory-{steps}/{core}", "MB", [peak], [gru_peaks[steps]], "GRU")


class Price(NamedTuple):
    """Price of a core at each of several lengths, from the results of `memory_price`.

    Args:
        lengths: T.
        times: microseconds of a step, at each length.
        ratios: the same, divided by that of a GRU measured alternately.
        peaks: MB that an episode needs at its peak, at each length.
    """

    lengths: list[int]
    times: list[float]
    ratios: list[float]
    peaks: list[float]

    @property
    def bytes_a_step(self) -> float:
        """Bytes that each further step of the episode adds to the peak."""
        return 1e6 * (self.peaks[-1] - self.peaks[0]) / (self.lengths[-1] - self.lengths[0])


def prices(results: Mapping[str, Mapping[str, Any]]) -> dict[str, Price]:
    """The price of each core, and of the GRU beside which they were measured.

    Args:
        results: of `memory_price`, by name, as `badger bench --json` writes them.
    """
    found: dict[str, dict[int, tuple[float, float, float]]] = {GRU: {}}
    grus: dict[int, list[tuple[float, float]]] = {}  # times and peaks
    for name, row in results.items():
        if not name.startswith(f"{NAME}/time-"):
            continue
        steps, core = name.removeprefix(f"{NAME}/time-").split("/")
        memory = results[f"{NAME}/memory-{steps}/{core}"]
        grus.setdefault(int(steps), []).append((row["reference"], memory["reference"]))
        found.setdefault(core, {})[int(steps)] = (row["ours"], row["ratio"], memory["ours"])
    for length, measured in grus.items():
        times, peaks = zip(*measured, strict=True)
        found[GRU][length] = (median(times), 1.0, median(peaks))
    return {
        core: Price(sorted(at), *([at[steps][i] for steps in sorted(at)] for i in range(3)))
        for core, at in found.items()
    }


def price_table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """A Markdown table with a line for each core: time and memory of a step, as multiples of those of a GRU.

    Args:
        results: as for `prices`.
    """
    found = prices(results)
    lengths, gru = found[GRU].lengths, found[GRU]
    header = (
        "core", *(f"us a step, T = {steps}" for steps in lengths), *(f"of a GRU's, T = {steps}" for steps in lengths),
        "kB a step", "of a GRU's",
    )  # fmt: skip
    lines = [
        (
            core, *(f"{value:.0f}" for value in price.times), *(f"{value:.3g}" for value in price.ratios),
            f"{price.bytes_a_step / 1e3:.3g}", f"{price.bytes_a_step / gru.bytes_a_step:.3g}",
        )
        for core, price in sorted(found.items(), key=lambda item: item[1].ratios[-1])
    ]  # fmt: skip
    return markdown_table(header, lines)
