"""The report of a simulation: Markdown, JSON and a figure of all curves with confidence bands."""

import json
import math
from pathlib import Path

import numpy as np

from badger.figures.band_panels import plot_band_panels
from badger.figures.curves import Band
from badger.runs.files import atomic_write
from badger.runs.milestones import markdown_table
from badger.study.simulations.run import Results
from badger.study.simulations.simulation import Curves, Simulation
from badger.study.statistics import bootstrap, censored_median, pooled


def overtaking_point(curves: Curves, first: str, second: str) -> float:
    """The x from which on one curve stays above another, interpolated on a logarithmic axis; infinite if it does not.

    Args:
        curves: both.
        first: name of the curve that overtakes.
        second: name of the other one.
    """
    ahead = np.subtract(curves.y[first], curves.y[second])
    behind = np.flatnonzero(ahead <= 0)
    if not len(behind):
        return float(curves.x[0])
    i = behind[-1]
    if i == len(ahead) - 1:
        return math.inf
    return float(np.exp(np.interp(0, ahead[i : i + 2], np.log(curves.x[i : i + 2]))))


def mean_bands(curves: dict[int, Curves]) -> dict[str, Band]:
    """By name the mean curve over seeds, with a 95 % interval by bootstrap over seeds.

    Args:
        curves: by seed, over the same x.
    """
    runs = list(curves.values())
    bands = {}
    for name in runs[0].y:
        values = np.array([run.y[name] for run in runs])  # (seeds, K)
        rng = np.random.default_rng(0)
        ends = [bootstrap([column], lambda sample: sample.mean(-1), rng) for column in values.T]
        low, high = np.array(ends).T
        bands[name] = Band(np.array(runs[0].x), values.mean(0), low, high)
    return bands


def write_simulation_report(simulation: Simulation, results: Results, folder: Path) -> str:
    """Writes report.md, results.json and curves.png; returns the report.

    Args:
        simulation: its definition.
        results: its curves.
        folder: of the study.
    """
    bands = {arm: mean_bands(curves) for arm, curves in results.curves.items()}
    points = {
        arm: [overtaking_point(run, *simulation.overtakes) for run in curves.values()]
        for arm, curves in results.curves.items()
    }
    content = {
        arm: {
            "seeds": list(results.curves[arm]),
            "curves": {name: {field: values.tolist() for field, values in band._asdict().items()}
                       for name, band in bands[arm].items()},
            "overtaking_points": [point if math.isfinite(point) else None for point in points[arm]],
        }
        for arm in bands
    }  # fmt: skip
    atomic_write(folder / "results.json", (json.dumps(content) + "\n").encode())
    if bands:
        plot_band_panels(bands, simulation.x, simulation.y).savefig(folder / "curves.png")
    text = _markdown(simulation, results, bands, points)
    atomic_write(folder / "report.md", text.encode())
    return text


def _markdown(
    simulation: Simulation, results: Results, bands: dict[str, dict[str, Band]], points: dict[str, list[float]]
) -> str:
    first, second = simulation.overtakes
    parts = [f"# {simulation.name}", simulation.claim]
    if points:
        rows = [[arm, str(len(found)), _interval(found), ", ".join(map(_number, found))]
                for arm, found in points.items()]  # fmt: skip
        parts += [f"{simulation.x.capitalize()} from which on {first} is above {second}; inf: not within the range.",
                  markdown_table(["arm", "seeds", "median (95 %)", "of each seed"], rows)]  # fmt: skip
    for arm, curves in bands.items():
        head, x = [f"{arm}: {simulation.x}", *curves], next(iter(curves.values())).x
        body = [[_number(float(at)), *(f"{band.y[k]:.3f} ({band.low[k]:.3f} to {band.high[k]:.3f})"
                                for band in curves.values())] for k, at in enumerate(x)]  # fmt: skip
        parts += [markdown_table(head, body)]
    parts += [f"{name} is missing. {failure.kind}: {failure.text}" for name, failure in results.missing.items()]
    parts += ["![curves](curves.png)"] if bands else []
    parts += [
        f"Values: {simulation.y}, mean over seeds; intervals: 95 %, by bootstrap over seeds. "
        f"CPU time: {results.cpu_seconds:.0f} s."
    ]
    return "\n\n".join(parts) + "\n"


def _interval(points: list[float]) -> str:
    low, high = bootstrap([np.array(points)], pooled(censored_median), np.random.default_rng(0))
    return f"{_number(censored_median(np.array(points)))} ({_number(low)} to {_number(high)})"


def _number(value: float) -> str:
    return f"{value:.0f}"
