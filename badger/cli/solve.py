"""The command `badger solve FILE`: value, bounds and policy of a partially observed Markov decision process."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import networkx as nx
from tyro.conf import Positional

from badger.cli.paths import check_output_folder
from badger.cli.usage import Work, parse
from badger.figures.pomdp import plot_alpha_vectors, plot_policy_graph
from badger.planning import (
    AlphaVectors,
    best_blind,
    fast_informed_bound,
    heuristic_search,
    policy_graph,
    policy_iteration,
    qmdp,
    value_iteration,
)
from tasks.pomdp import PomdpModel, load_model


@dataclass(frozen=True)
class Solved:
    """A policy, and lines about its value.

    Args:
        policy: alpha vectors.
        lines: name and text.
    """

    policy: AlphaVectors
    lines: list[tuple[str, str]]


def solve_command(words: list[str]) -> Work:
    """Reads the model of `badger solve`; the work solves it.

    Args:
        words: the command line after `badger solve`.
    """

    def solve(
        file: Positional[str],
        *,
        method: Literal["bounds", "exact"] = "bounds",
        horizon: int | None = None,
        precision: float = 1e-3,
        seconds: float = 60.0,
        out: Path | None = None,
    ) -> Work:
        """Solve a POMDP: print its value, bounds and the size of its policy; draw alpha vectors and policy graph.

        Args:
            file: in Cassandra's POMDP format, or a classic: 1d, 4x3, cheese, parr95, shuttle, tiger.95, tiger.aaai.
            method: bounds: a lower and an upper bound of the value at the start, by heuristic search; exact: policy
                iteration with incremental pruning, for models of few states (pip install 'badger-agents[planning]').
            horizon: number of steps, of which the plans are computed exactly; default: infinitely many, discounted.
            precision: largest gap between the bounds, or error of an exact value.
            seconds: stop after so much time, with the bounds so far.
            out: folder for the pictures; default: solved-NAME in the current directory.
        """
        model = load_model(file)
        if horizon is not None and horizon < 1:
            raise ValueError(f"horizon={horizon}, want at least 1 step")
        if not precision > 0:
            raise ValueError(f"precision={precision}, want a number above 0")
        if not seconds > 0:
            raise ValueError(f"seconds={seconds}, want a number above 0")
        if model.discount == 1 and horizon is None:
            raise ValueError(f"{file}: its discount is 1, so that returns may be infinite; want --horizon STEPS")
        folder = out or Path(f"solved-{Path(file).stem if Path(file).suffix == '.POMDP' else Path(file).name}")
        check_output_folder("out", folder)

        def work() -> int:
            began = time.process_time()
            print_lines(describe(model, file))
            print_lines(bounds(model))
            if horizon is not None:
                solved = _solve_horizon(model, horizon, seconds)
            else:
                solved = (_solve_exactly if method == "exact" else _search)(model, precision, seconds)
            print_lines(solved.lines)
            graph = policy_graph(model, solved.policy)
            vectors = len(solved.policy)
            followed = f", {len(graph)} plans followed from the start" if horizon is None else ""
            print_lines([("policy", f"{vectors} alpha vectors{followed}")])
            print_lines([("time", f"{time.process_time() - began:.2f} s of one core")])
            print_lines(_draw(model, solved.policy, graph if horizon is None else None, folder))
            return 0

        return work

    return parse(solve, words, prog="badger solve")


def print_lines(lines: Iterator[tuple[str, str]] | list[tuple[str, str]]) -> None:
    """Prints names and texts in two columns.

    Args:
        lines: name and text.
    """
    for name, text in lines:
        print(f"{name:<15} {text}", flush=True)


def describe(model: PomdpModel, file: str) -> Iterator[tuple[str, str]]:
    """Sizes of a model.

    Args:
        model: the model.
        file: its name.
    """
    sizes = [f"{len(getattr(model, kind))} {kind}" for kind in ("states", "actions", "observations")]
    yield "model", f"{file}: {', '.join(sizes)}, discount {model.discount:g}"


def bounds(model: PomdpModel) -> Iterator[tuple[str, str]]:
    """Fast bounds of the value at the start over infinitely many steps; none for a discount of 1.

    Args:
        model: the model.
    """
    if model.discount < 1:
        lower, upper, highest = (f(model).value(model.start) for f in (best_blind, fast_informed_bound, qmdp))
        yield "blind policy", f"{lower:.6f} at the start, a lower bound"
        yield "upper bounds", f"{upper:.6f} (fast informed bound), {highest:.6f} (QMDP)"


def _search(model: PomdpModel, precision: float, seconds: float) -> Solved:
    found = heuristic_search(model, precision, seconds=seconds)
    gap = found.upper - found.lower
    stopped = f", stopped after {seconds:g} s; want more --seconds" if gap > precision else ""
    text = f"{found.lower:.6f} to {found.upper:.6f} at the start (heuristic search, gap {gap:.2g}{stopped})"
    return Solved(found.policy, [("value", text)])


def _solve_exactly(model: PomdpModel, precision: float, seconds: float) -> Solved:
    found = policy_iteration(model, precision, seconds=seconds)
    stopped = f"; stopped after {seconds:g} s and {found.iterations} iterations, want more --seconds"
    stopped = stopped if found.error > precision else ""
    value = found.plans.value(model.start)
    text = f"{value:.9f} at the start (policy iteration, error at most {found.error:.2g}{stopped})"
    return Solved(found.plans, [("value", text)])


def _solve_horizon(model: PomdpModel, horizon: int, seconds: float) -> Solved:
    plans = value_iteration(model, horizon, seconds=seconds)
    text = f"{plans.value(model.start):.9f} at the start (value iteration of {horizon} steps)"
    return Solved(plans, [("value", text)])


def _draw(model: PomdpModel, policy: AlphaVectors, graph: nx.DiGraph | None, folder: Path) -> Iterator[tuple[str, str]]:
    """Saves the pictures; lines with their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    pictures = {
        "alpha vectors": plot_alpha_vectors(policy.vectors, policy.actions.tolist(), model.actions, model.states)
    }
    if graph is not None:
        pictures["policy graph"] = plot_policy_graph(graph, model.actions)
    for name, figure in pictures.items():
        path = folder / f"{name.replace(' ', '_')}.png"
        figure.savefig(path)
        yield name, str(path)
