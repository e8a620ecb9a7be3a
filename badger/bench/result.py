"""What a case found: rows of ours against a reference, and the goal that they reach or miss."""

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


class Goal(NamedTuple):
    """Bounds, both inclusive, of our median or of the ratio ours/reference."""

    text: str
    quantity: Literal["ours", "ratio"]
    least: float = -math.inf
    most: float = math.inf


def min_speedup(factor: float, better: str) -> Goal:
    """Ours takes at most 1/factor of the reference; better: "faster", "less"."""
    return Goal(f">= {factor:g}x {better}", "ratio", most=1 / factor)


def max_ratio(factor: float) -> Goal:
    """Ours takes at most `factor` times the reference."""
    return Goal(f"<= {factor:g}x", "ratio", most=factor)


def at_most(value: float, unit: str) -> Goal:
    return Goal(f"<= {value:g} {unit}", "ours", most=value)


def at_least(value: float, unit: str) -> Goal:
    return Goal(f">= {value:g} {unit}", "ours", least=value)


class BenchResult(NamedTuple):
    """Ours and the reference, a number for each turn; none where it was not measured, or there is no reference.

    name: case, or case/what. reference_name: what the reference is.
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
        """The median over turns of ours/reference: what slows down a whole turn cancels."""
        if not self.ours or not self.reference:
            return None
        return median(a / b for a, b in zip(self.ours, self.reference, strict=True))

    @property
    def passed(self) -> bool | None:
        value = self.ratio if self.goal and self.goal.quantity == "ratio" else median(self.ours) if self.ours else None
        return None if self.goal is None or value is None else self.goal.least <= value <= self.goal.most


def on_gpu(
    device: torch.device, name: str, unit: str, goal: Goal | None, measured: Callable[[], BenchResult]
) -> BenchResult:
    """A row that is measured on a GPU only."""
    if device.type == "cuda":
        return measured()
    return BenchResult(name, unit, goal=goal, note="not measured: wants --device cuda")


def table(rows: Sequence[BenchResult]) -> str:
    """In Markdown: medians, with the lowest and highest of the turns in brackets."""
    header = ("case", "unit", "ours", "reference", "ratio", "goal", "", "note")
    return markdown_table(header, [_cells(row) for row in rows])


def _cells(row: BenchResult) -> tuple[str, ...]:
    reference = f"{_spread(row.reference)} {row.reference_name}" if row.reference else "-"
    ratio = "-" if row.ratio is None else f"{row.ratio:.3g}"
    verdict = {True: "reached", False: "missed", None: ""}[row.passed]
    ours = _spread(row.ours) if row.ours else "not measured"
    return row.name, row.unit, ours, reference, ratio, row.goal.text if row.goal else "-", verdict, row.note


def _spread(values: Sequence[float]) -> str:
    return f"{median(values):.3g} [{min(values):.3g}, {max(values):.3g}]"


def as_json(rows: Sequence[BenchResult], device: torch.device) -> dict[str, dict[str, Any]]:
    """Plain types by row: medians, spread, ratio, goal, and on what."""
    about = {"device": str(device), "versions": versions(device)}
    return {row.name: {**_plain(row), **about} for row in rows}


def _plain(row: BenchResult) -> dict[str, Any]:
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
    """What the figures hold for: software and machine."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "badger": __version__,
        "git_commit": git_commit(),
        "processor": torch.cuda.get_device_name(device) if device.type == "cuda" else _processor(),
        "cores": len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count(),
        "threads": torch.get_num_threads(),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    return names[0].split(":", 1)[1].strip() if names else platform.processor() or platform.machine()
