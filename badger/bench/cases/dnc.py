"""Benchmark of the differentiable neural computer: compared with a direct implementation of its equations."""

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from badger.bench import measure
from badger.bench.measure import Work, no_setup
from badger.bench.references import PlainDNC
from badger.bench.result import BenchResult, min_speedup
from badger.rng import drawing_from, generator
from experts import DNC, LSTM


class DNCSizes(NamedTuple):
    """An episode of `steps` steps in `rows` stores, each with one member."""

    steps: int = 100
    rows: int = 8
    slots: tuple[int, ...] = (64, 256)
    slot_size: int = 32
    heads: int = 4
    input_size: int = 16
    hidden_size: int = 100


def dnc_case(device: torch.device, sizes: DNCSizes = DNCSizes(), repeats: int = 5) -> Iterator[BenchResult]:  # noqa: B008
    """Forward and backward of an episode, compared with loops over heads, and over episodes and heads."""
    rng = generator(0, "bench")
    xs = torch.randn(sizes.steps, sizes.rows, 1, sizes.input_size, generator=rng).to(device)
    names = {"heads": "loop over heads", "rows": "loop over episodes and heads"}
    for slots in sizes.slots:
        works = {
            "ours": badger_work(sizes, slots, xs),
            "heads": reference_work(sizes, slots, xs, by_row=False),
            "rows": reference_work(sizes, slots, xs, by_row=True),
        }
        sides = {name: no_setup(work) for name, work in works.items()}
        seconds = measure.time_interleaved(sides, repeats=repeats, clock=measure.wall_clock(device))
        for name, reference_name in names.items():
            goal = min_speedup(2, "faster")
            yield BenchResult(f"dnc/{slots}-slots-{name}", "s", seconds["ours"], seconds[name], reference_name, goal)


def badger_work(sizes: DNCSizes, slots: int, xs: Tensor) -> Work:
    """Forward and backward of `DNC`."""
    controller = partial(LSTM, hidden_size=sizes.hidden_size)
    with drawing_from(generator(0, "init")):
        core = DNC(sizes.input_size, controller, slots=slots, slot_size=sizes.slot_size, heads=sizes.heads)
    core = core.to(xs.device)
    return lambda: core.unroll(xs, core.initial_state(xs[0]))[0].square().mean().backward()


def reference_work(sizes: DNCSizes, slots: int, xs: Tensor, *, by_row: bool) -> Work:
    """Forward and backward of the direct implementation. by_row: in a loop over episodes."""
    options = {"slots": slots, "slot_size": sizes.slot_size, "heads": sizes.heads}
    module = PlainDNC(sizes.input_size, sizes.hidden_size, **options, by_row=by_row).to(xs.device)
    return lambda: module(xs.squeeze(2)).square().mean().backward()
