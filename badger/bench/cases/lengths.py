"""What a training step costs with each memory as the input grows longer (Munkhdalai et al. 2019, figure 3)."""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from statistics import median
from typing import Any, NamedTuple

import torch
from torch import Tensor

from badger.bench import measure
from badger.bench.measure import Prepare, Work
from badger.bench.result import BenchResult, max_ratio
from badger.rng import drawing_from, generator
from experts import CORES, LSTM, Core, EpisodicMemory, LookupTable, Private


class LengthSizes(NamedTuple):
    """`rows` inputs at once; as wide as the tasks of the paper have symbols; controller, keys and values of
    `hidden_size`, as the network that is the neural memory there."""

    rows: int = 32
    input_size: int = 30
    hidden_size: int = 100

    @property
    def controller(self) -> Callable[[int], Core]:
        return partial(LSTM, hidden_size=self.hidden_size)


def _lookup(s: LengthSizes) -> Core:
    return Private(LookupTable(s.input_size, s.controller, key_size=s.hidden_size, value_size=s.hidden_size))


def _episodic(s: LengthSizes) -> Core:
    memory = EpisodicMemory(
        s.input_size, s.controller, key_size=s.hidden_size, row_content="h", slots=8 * s.hidden_size
    )  # as many numbers a row, and no slot is written twice
    return Private(memory)


SIZED: dict[str, Callable[[LengthSizes], Core]] = {"lookup_table": _lookup, "episodic": _episodic}
"""Memories whose sizes are more than a hidden size; the others are built as `CORES` has them."""

COMPARED_CORES = ("lstm", "episodic", "plastic", "lookup_table", "neural_memory", "neural_memory_gradient", "dnc")
LINEAR = {"neural_memory", "neural_memory_gradient"}  # of which it is claimed
TABLE, NEURAL = "lookup_table", "neural_memory"


def training_step(name: str, steps: int, sizes: LengthSizes, device: torch.device) -> Work:
    """Forward and backward through an input of that length, with the auxiliary losses of a core that has some."""
    with drawing_from(generator(0, "init")):
        core = SIZED[name](sizes) if name in SIZED else CORES[name](sizes.input_size, sizes.hidden_size)
    core = core.to(device)
    xs = torch.randn(steps, sizes.rows, 1, sizes.input_size, generator=generator(0, "bench")).to(device)
    return lambda: _loss(core, xs).backward()


def _loss(core: Core, xs: Tensor) -> Tensor:
    state, total = core.initial_state(xs[0]), xs.new_zeros(())
    if not core.losses(state):
        return core.unroll(xs, state)[0].square().mean()
    for x in xs:
        y, state = core(x, state)
        total = total + y.square().mean() + sum(loss.mean() for loss in core.losses(state).values())
    return total / len(xs)


class Costs(NamedTuple):
    """Of training steps: for each memory, at each of the lengths, a number for each turn. times: in ms, wall-clock, of
    all rows together. peaks: in MB, at the lengths `longer`, by how much the step raises the peak of a process of its
    own: all that is resident, and so also what functions keep outside of autograd's own list."""

    lengths: Sequence[int]
    times: dict[str, list[list[float]]]
    longer: Sequence[int]
    peaks: dict[str, list[list[float]]]


def costs(
    device: torch.device,
    sizes: LengthSizes = LengthSizes(),  # noqa: B008
    lengths: Sequence[int] = (50, 100, 200, 400, 800),
    names: Sequence[str] = COMPARED_CORES,
    repeats: int = 3,
) -> Costs:
    """What figure 3 of the paper shows. Memory is not measured at the shorter half of the lengths, where what does not
    grow hides what does."""
    names = [name for name in names if name in CORES]
    sides: dict[str, Prepare] = {
        _side(name, steps): partial(training_step, name, steps, sizes, device) for steps in lengths for name in names
    }
    seconds = measure.time_interleaved(sides, repeats=repeats, clock=measure.wall_clock(device))
    times = {name: [[1e3 * s for s in seconds[_side(name, steps)]] for steps in lengths] for name in names}
    longer, peaks = lengths[min(len(lengths) // 2, len(lengths) - 2) :], {}
    for name in names:
        few = partial(training_step, name, 2, sizes, device)
        peaks[name] = [[measure.peak_memory(sides[_side(name, steps)], few, device)] for steps in longer]
    return Costs(lengths, times, longer, peaks)


def input_length(device: torch.device, **asked: Any) -> Iterator[BenchResult]:
    """Time and peak memory of a training step at the greatest length against that at the one before, with those at all
    lengths and the power of the length by which they grow, fitted to the longer half; and the length from which on the
    look-up table is slower than the neural memory. Arguments: those of `costs`."""
    yield from length_results(costs(device, **asked))


def length_results(found: Costs) -> Iterator[BenchResult]:
    """Those rows."""
    fitted = len(found.longer)
    for name, series in found.times.items():
        yield _grown(f"input-length/{name}/time", "ms", name, found.lengths, series, fitted)
        yield _grown(f"input-length/{name}/memory", "MB", name, found.longer, found.peaks[name], fitted)
    if {TABLE, NEURAL} <= found.times.keys():
        yield _crossing("input-length/crossing", found.lengths, found.times)


def input_crossing(
    device: torch.device,
    sizes: LengthSizes = LengthSizes(),  # noqa: B008
    lengths: Sequence[int] = (800, 1600, 3200, 6400),
    repeats: int = 1,
) -> Iterator[BenchResult]:
    """The length from which on the look-up table is slower than the neural memory, where inputs are long: at each of
    the lengths, until it is."""
    measured: list[int] = []
    times: dict[str, list[list[float]]] = {TABLE: [], NEURAL: []}
    for steps in lengths:
        sides = {name: partial(training_step, name, steps, sizes, device) for name in times}
        seconds = measure.time_interleaved(sides, repeats=repeats, clock=measure.wall_clock(device))
        measured.append(steps)
        for name, series in times.items():
            series.append(seconds[name])
        if median(seconds[TABLE]) > median(seconds[NEURAL]):
            break
    yield _crossing("input-crossing", measured, times)


def _side(name: str, steps: int) -> str:
    return f"{name} {steps}"


def _grown(
    row: str, unit: str, name: str, lengths: Sequence[int], measured: list[list[float]], fitted: int
) -> BenchResult:
    """fitted: of how many of the lengths, the longest, the power is told."""
    medians = [median(values) for values in measured]
    shown = ", ".join(f"{steps}: {value:.3g}" for steps, value in zip(lengths, medians, strict=True))
    little = min(medians[-fitted:]) <= 0  # a peak that was reached before
    growth = "too little to tell how" if little else f"as T^{power(lengths[-fitted:], medians[-fitted:]):.2f}"
    note = f"grows {growth}; {shown}"
    goal = max_ratio(1.1 * lengths[-1] / lengths[-2]) if name in LINEAR else None
    return BenchResult(row, unit, measured[-1], measured[-2], f"T = {lengths[-2]}", goal, f"T = {lengths[-1]}; {note}")


def power(lengths: Sequence[int], values: Sequence[float]) -> float:
    """p of the values = c lengths^p that fit best, by least squares of the logarithms."""
    x, y = ([math.log(value) for value in series] for series in (lengths, values))
    middle, level = sum(x) / len(x), sum(y) / len(y)
    return sum((a - middle) * (b - level) for a, b in zip(x, y, strict=True)) / sum((a - middle) ** 2 for a in x)


def _crossing(name: str, lengths: Sequence[int], times: dict[str, list[list[float]]]) -> BenchResult:
    ratios = [median(a) / median(b) for a, b in zip(times[TABLE], times[NEURAL], strict=True)]
    at = crossing(lengths, ratios)
    shown = ", ".join(f"T = {steps}: {ratio:.2f}" for steps, ratio in zip(lengths, ratios, strict=True))
    says = "" if at is not None else f"none within {lengths[0]} to {lengths[-1]}; "
    return BenchResult(name, "steps", () if at is None else [at], note=f"{says}table / neural, {shown}")


def crossing(lengths: Sequence[int], ratios: Sequence[float]) -> float | None:
    """The length from which on the ratio stays above 1, between two lengths by a straight line of logarithms; None
    where it does not rise above 1 within them."""
    above = [ratio > 1 for ratio in ratios]
    if all(above) or not above[-1]:
        return None
    i = max(i for i, over in enumerate(above) if not over)
    low, high = math.log(ratios[i]), math.log(ratios[i + 1])
    return lengths[i] * (lengths[i + 1] / lengths[i]) ** (-low / (high - low))
