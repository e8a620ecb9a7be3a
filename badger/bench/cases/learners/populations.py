"""Benchmark of evolution strategies: low-rank noise of large matrices beside dense noise."""

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import torch

from badger.agent import Agent
from badger.bench import measure
from badger.bench.measure import Work
from badger.bench.result import BenchResult, min_speedup
from badger.learners.evolution.strategies import Evolution
from badger.recipes.build import build_run


class MemberSizes(NamedTuple):
    """A population that plays guessing games with one expert, a GRU."""

    population: int = 1024
    hidden_size: int = 256
    batch: int = 4
    steps: int = 5

    def agent(self, device: torch.device) -> Agent:
        """The agent."""
        run = build_run(
            "guessing_game", core="gru", experts=1, dims=1, steps=self.steps, device=str(device),
            **{"core.hidden_size": self.hidden_size},
        )  # fmt: skip
        return run.learner.agent


def outer_step(sizes: MemberSizes, device: torch.device, noise_rank: int | None) -> Work:
    """One update of `Evolution`."""
    task = build_run("guessing_game", experts=1, dims=1, steps=sizes.steps).learner.task
    agent = sizes.agent(device)
    return Evolution(agent, task, batch=sizes.batch, population=sizes.population, noise_rank=noise_rank).update


def low_rank_noise(device: torch.device, sizes: MemberSizes = MemberSizes(), repeats: int = 5) -> Iterator[BenchResult]:  # noqa: B008
    """Time and peak memory of an outer step with noise of rank 1, compared with dense noise."""
    works = {name: partial(outer_step, sizes, device, rank) for name, rank in {"ours": 1, "dense": None}.items()}
    seconds = measure.time_interleaved(works, repeats=repeats, clock=measure.wall_clock(device))
    note = f"{sizes.population} members, a GRU of {sizes.hidden_size} units"
    goal = min_speedup(9, "faster")
    yield BenchResult("evolution/rank-1", "s", seconds["ours"], seconds["dense"], "dense noise", goal, note)
    small = sizes._replace(population=2, hidden_size=2)
    peaks = {
        name: measure.peak_memory(work, partial(outer_step, small, device, 1), device) for name, work in works.items()
    }
    goal = min_speedup(10, "less")
    yield BenchResult("evolution/memory", "MB", [peaks["ours"]], [peaks["dense"]], "dense noise", goal, note)
