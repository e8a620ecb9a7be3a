"""Benchmarks of time and memory as functions of the input length (Munkhdalai et al. 2019, figure 3)."""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from statistics import median
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from badger.bench import measure
from badger.bench.measure import Prepare, Work
from badger.bench.result import BenchResult, max_ratio
from badger.rng import drawing_from, generator
from experts import CORES, LSTM, Core, EpisodicMemory, LookupTable, NeuralMemory, Private


class LengthSizes(NamedTuple):
    """Sizes of a training step: `rows` sequences of vectors as wide as the tasks of the paper have symbols.

    Controller, keys and values have `hidden_size` numbers, as the neural memory of the paper.
    """

    rows: int = 32
    input_size: int = 30
    hidden_size: int = 100

    @property
    def controller(self) -> Callable[[int], Core]:
        """Factory of the controller."""
        return partial(LSTM, hidden_size=self.hidden_size)


def _lookup(sizes: LengthSizes) -> Core:
    hidden_size = sizes.hidden_size
    return Private(LookupTable(sizes.input_size, sizes.controller, key_size=hidden_size, value_size=hidden_size))


def _episodic(sizes: LengthSizes) -> Core:
    hidden_size = sizes.hidden_size
    slots = 8 * hidden_size  # no slot is written twice; rows are as wide as those of the look-up table
    return Private(
        EpisodicMemory(sizes.input_size, sizes.controller, key_size=hidden_size, row_content="h", slots=slots)
    )


def _neural(sizes: LengthSizes, rule: Literal["local", "gradient"] = "local") -> Core:
    return Private(NeuralMemory(sizes.input_size, sizes.controller, width=sizes.hidden_size, rule=rule))


SIZED: dict[str, Callable[[LengthSizes], Core]] = {
    "lookup_table": _lookup,
    "episodic": _episodic,
    "neural_memory": _neural,
    "neural_memory_gradient": partial(_neural, rule="gradient"),
}
"""Memories with more sizes than the hidden size; the others are built by `CORES`."""

COMPARED_CORES = ("lstm", "episodic", "plastic", "lookup_table", "neural_memory", "neural_memory_gradient", "dnc")
LINEAR = {"neural_memory", "neural_memory_gradient"}  # cores with a goal: linear growth
TABLE, NEURAL = "lookup_table", "neural_memory"


def training_step(name: str, steps: int, sizes: LengthSizes, device: torch.device) -> Work:
    """Forward and backward through a sequence, with the auxiliary losses of the core.

    Args:
        name: of the core.
        steps: length of the sequence.
        sizes: of the core and the input.
        device: where it runs.
    """
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
    """Time and memory of training steps, as lists over rounds for each core and length.

    Args:
        lengths: input lengths of `times`.
        times: wall-clock ms of all rows together.
        longer: input lengths of `peaks`.
        peaks: increase of the peak memory of a separate process, in MB: resident memory, so that buffers
            which functions keep outside of autograd's saved tensors are counted, too.
    """

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
    """Measures time and peak memory at each length, as in figure 3 of the paper.

    Memory is measured at the longer half of the lengths: at the others a constant part dominates.
    """
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


def input_length(device: torch.device, **kwargs: Any) -> Iterator[BenchResult]:
    """Time and peak memory of a training step at the greatest length, compared with the next smaller one.

    Notes give the values at all lengths and the exponent of growth, fitted to the longer half. The last row is the
    length from which on the look-up table is slower than the neural memory. Arguments: those of `costs`.
    """
    yield from length_results(costs(device, **kwargs))


def length_results(measured: Costs) -> Iterator[BenchResult]:
    """Results of `input_length` from its measurements."""
    fitted = len(measured.longer)
    for name, series in measured.times.items():
        yield _growth_result(f"input-length/{name}/time", "ms", name, measured.lengths, series, fitted)
        yield _growth_result(f"input-length/{name}/memory", "MB", name, measured.longer, measured.peaks[name], fitted)
    if {TABLE, NEURAL} <= measured.times.keys():
        yield _crossing_result("input-length/crossing", measured.lengths, measured.times)


def input_crossing(
    device: torch.device,
    sizes: LengthSizes = LengthSizes(),  # noqa: B008
    lengths: Sequence[int] = (800, 1600, 3200, 6400),
    repeats: int = 1,
) -> Iterator[BenchResult]:
    """The input length from which on the look-up table is slower than the neural memory.

    Lengths are measured in increasing order until it is slower.
    """
    measured_lengths: list[int] = []
    times: dict[str, list[list[float]]] = {TABLE: [], NEURAL: []}
    for steps in lengths:
        sides = {name: partial(training_step, name, steps, sizes, device) for name in times}
        seconds = measure.time_interleaved(sides, repeats=repeats, clock=measure.wall_clock(device))
        measured_lengths.append(steps)
        for name, series in times.items():
            series.append(seconds[name])
        if median(seconds[TABLE]) > median(seconds[NEURAL]):
            break
    yield _crossing_result("input-crossing", measured_lengths, times)


def _side(name: str, steps: int) -> str:
    return f"{name} {steps}"


def _growth_result(
    row: str, unit: str, name: str, lengths: Sequence[int], measured: list[list[float]], fitted: int
) -> BenchResult:
    """fitted: number of the longest lengths to which the exponent is fitted."""
    medians = [median(values) for values in measured]
    shown = ", ".join(f"{steps}: {value:.3g}" for steps, value in zip(lengths, medians, strict=True))
    flat = min(medians[-fitted:]) <= 0  # the peak did not rise above that of the warm-up
    growth = "growth too small to fit" if flat else f"grows as T^{power(lengths[-fitted:], medians[-fitted:]):.2f}"
    note = f"{growth}; {shown}"
    goal = max_ratio(1.1 * lengths[-1] / lengths[-2]) if name in LINEAR else None
    return BenchResult(row, unit, measured[-1], measured[-2], f"T = {lengths[-2]}", goal, f"T = {lengths[-1]}; {note}")


def power(lengths: Sequence[int], values: Sequence[float]) -> float:
    """Exponent p of values = c lengths^p, by least squares of the logarithms.

    Args:
        lengths: at least two different ones.
        values: positive.
    """
    x, y = ([math.log(value) for value in series] for series in (lengths, values))
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    return sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / sum((a - mean_x) ** 2 for a in x)


def _crossing_result(name: str, lengths: Sequence[int], times: dict[str, list[list[float]]]) -> BenchResult:
    ratios = [median(a) / median(b) for a, b in zip(times[TABLE], times[NEURAL], strict=True)]
    length = crossing(lengths, ratios)
    shown = ", ".join(f"T = {steps}: {ratio:.2f}" for steps, ratio in zip(lengths, ratios, strict=True))
    prefix = "" if length is not None else f"none within {lengths[0]} to {lengths[-1]}; "
    return BenchResult(name, "steps", () if length is None else [length], note=f"{prefix}table / neural, {shown}")


def crossing(lengths: Sequence[int], ratios: Sequence[float]) -> float | None:
    """The length from which on the ratio stays above 1, or None where there is none within the lengths.

    Between two lengths the logarithm of the ratio is interpolated linearly in the logarithm of the length.

    Args:
        lengths: in increasing order.
        ratios: one for each length.
    """
    above = [ratio > 1 for ratio in ratios]
    if all(above) or not above[-1]:
        return None
    i = max(i for i, is_above in enumerate(above) if not is_above)
    low, high = math.log(ratios[i]), math.log(ratios[i + 1])
    return lengths[i] * (lengths[i + 1] / lengths[i]) ** (-low / (high - low))
