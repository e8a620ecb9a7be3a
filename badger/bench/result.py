"""Results of benchmarks: measurements of this library and of a reference, with a goal, as a table and as JSON."""

import math
import os
import platform
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Literal, NamedTuple

import torch

from badger.runs.milestones import markdown_table
from badger.runs.run import git_commit
from badger.version import __version__
from experts.kernels import library as kernels


class Goal(NamedTuple):
    """Bounds, both inclusive, of the median of this library or of the ratio ours / reference.

    Args:
        text: the goal in words, for the table.
        quantity: the quantity that is bounded.
        minimum: lower bound.
        maximum: upper bound.
    """

    text: str
    quantity: Literal["ours", "ratio"]
    minimum: float = -math.inf
    maximum: float = math.inf


def min_speedup(factor: float, better: str) -> Goal:
    """A goal: ours takes at most 1 / factor of the reference.

    Args:
        factor: smallest reference / ours.
        better: the word for the table, "faster" or "less".
    """
    return Goal(f">= {factor:g}x {better}", "ratio", maximum=1 / factor)


def max_ratio(factor: float) -> Goal:
    """A goal: ours takes at most `factor` times the reference.

    Args:
        factor: largest ours / reference.
    """
    return Goal(f"<= {factor:g}x", "ratio", maximum=factor)


def min_ratio(factor: float) -> Goal:
    """A goal: ours, a rate, is at least `factor` times that of the reference.

    Args:
        factor: smallest ours / reference.
    """
    return Goal(f">= {factor:g}x", "ratio", minimum=factor)


def at_most(value: float, unit: str) -> Goal:
    """A goal: an upper bound of the median of ours.

    Args:
        value: the bound.
        unit: its unit, for the table.
    """
    return Goal(f"<= {value:g} {unit}", "ours", maximum=value)


def at_least(value: float, unit: str) -> Goal:
    """A goal: a lower bound of the median of ours.

    Args:
        value: the bound.
        unit: its unit, for the table.
    """
    return Goal(f">= {value:g} {unit}", "ours", minimum=value)


class BenchResult(NamedTuple):
    """Measurements of this library and of a reference, one number for each round.

    Args:
        name: the benchmark, or benchmark/quantity.
        unit: of the numbers.
        ours: this library; empty where it was not measured.
        reference: the reference; empty where there is none.
        reference_name: describes the reference.
        goal: optional; it is reached or missed.
        note: further text for the table.
    """

    name: str
    unit: str
    ours: Sequence[float] = ()
    reference: Sequence[float] = ()
    reference_name: str = ""
    goal: Goal | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """Median over rounds of ours / reference: a machine that is slow for a whole round does not change it."""
        if not self.ours or not self.reference:
            return None
        return median(a / b for a, b in zip(self.ours, self.reference, strict=True))

    @property
    def passed(self) -> bool | None:
        """Whether the goal is reached; None without a goal or without measurements."""
        value = self.ratio if self.goal and self.goal.quantity == "ratio" else median(self.ours) if self.ours else None
        return None if self.goal is None or value is None else self.goal.minimum <= value <= self.goal.maximum


def on_gpu(
    device: torch.device, name: str, unit: str, goal: Goal | None, measure: Callable[[], BenchResult]
) -> BenchResult:
    """The result of a measurement that is made on a GPU only; without one, a row that says so.

    Args:
        device: the device of the benchmark.
        name: name of the row.
        unit: of its numbers.
        goal: of the row.
        measure: makes the measurement.
    """
    if device.type == "cuda":
        return measure()
    return BenchResult(name, unit, goal=goal, note="not measured: wants --device cuda")


def table(rows: Sequence[BenchResult]) -> str:
    """A Markdown table of results: medians, with minimum and maximum over rounds in brackets.

    Args:
        rows: one line each.
    """
    header = ("case", "unit", "ours", "reference", "ratio", "goal", "", "note")
    return markdown_table(header, [_cells(row) for row in rows])


def _cells(row: BenchResult) -> tuple[str, ...]:
    reference = f"{_median_and_range(row.reference)} {row.reference_name}" if row.reference else "-"
    ratio = "-" if row.ratio is None else f"{row.ratio:.3g}"
    verdict = {True: "reached", False: "missed", None: ""}[row.passed]
    ours = _median_and_range(row.ours) if row.ours else "not measured"
    return row.name, row.unit, ours, reference, ratio, row.goal.text if row.goal else "-", verdict, row.note


def _median_and_range(values: Sequence[float]) -> str:
    return f"{median(values):.3g} [{min(values):.3g}, {max(values):.3g}]"


def as_json(rows: Sequence[BenchResult], device: torch.device) -> dict[str, dict[str, Any]]:
    """Results as plain types, by name: medians, range, ratio, goal, device and versions.

    Args:
        rows: the results.
        device: the device of the measurements.
    """
    environment = {"device": str(device), "versions": versions(device)}
    return {row.name: {**_to_dict(row), **environment} for row in rows}


def _to_dict(row: BenchResult) -> dict[str, Any]:
    sides = {"ours": row.ours, "reference": row.reference}
    return {
        **{side: median(values) if values else None for side, values in sides.items()},
        "ratio": row.ratio,
        "unit": row.unit,
        "spread": {side: [min(values), max(values)] if values else None for side, values in sides.items()},
        "reference_name": row.reference_name,
        "goal": row.goal.text if row.goal else None,
        "passed": row.passed,
        "note": row.note,
    }


def versions(device: torch.device) -> dict[str, Any]:
    """Versions of the software and a description of the machine.

    Args:
        device: a GPU is described instead of the processor.
    """
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "badger": __version__,
        "kernels": kernels.description(),
        "git_commit": git_commit(),
        "processor": torch.cuda.get_device_name(device) if device.type == "cuda" else _processor(),
        "cores": len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count(),
        "threads": torch.get_num_threads(),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    return names[0].split(":", 1)[1].strip() if names else platform.processor() or platform.machine()
