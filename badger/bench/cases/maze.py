"""Benchmark of the maze: A2C on a batch of mazes, compared with direct implementations of the same networks."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch

from badger.bench import measure
from badger.bench.measure import Work, no_setup
from badger.bench.references import MazeTraining, PlainNeural, PlasticNetwork
from badger.bench.result import BenchResult, Goal
from badger.recipes.build import build_run
from badger.rng import drawing_from, generator
from tasks import Maze

SETTINGS = {  # setting -> task, reference, episodes in a batch of the reference
    "plasticity": (Maze.plasticity, MazeTraining.of_2018, 1),
    "backpropamine": (Maze.backpropamine, MazeTraining.of_2019, 30),
}
SPEEDUPS = {  # setting -> minimum speedup of each memory against the same kind of network
    "plasticity": {"plastic": 15.0, "neural": 10.0},
    "backpropamine": {"plastic": 5.0, "neural": 1.5},
}
SIZES = {"plasticity": 200, "backpropamine": 100}
WIDEST = 100  # numbers in a layer of the neural memory, at most
MEMORIES = ("plastic", "neural")


def maze_case(
    device: torch.device,
    rows: tuple[int, ...] = (30, 60),
    sizes: dict[str, int] = SIZES,
    tasks: dict[str, Maze] | None = None,
    repeats: int = 5,
) -> Iterator[BenchResult]:
    """Episodes per second of the recipe `maze`, compared with direct implementations.

    Plastic weights and a neural memory are each compared with the same kind of network; the neural memory also with the
    plastic network, which is the published one.

    Args:
        device: of this library; the reference runs on the CPU.
        rows: batch sizes of this library.
        sizes: hidden size by setting.
        tasks: by setting, in place of the published mazes.
        repeats: rounds.
    """
    for setting, (published, training, episodes) in SETTINGS.items():
        task, hidden = (tasks or {}).get(setting) or published(), sizes[setting]
        works = {f"plain {memory}": reference_work(memory, training, task, hidden) for memory in MEMORIES}
        works |= {
            f"{memory} {n}": badger_work(setting, memory, n, hidden, task, device) for memory in MEMORIES for n in rows
        }
        seconds = measure.time_interleaved(
            {name: no_setup(work) for name, work in works.items()}, repeats=repeats, clock=measure.wall_clock(device)
        )
        for memory, other in (("plastic", "plastic"), ("neural", "neural"), ("neural", "plastic")):
            reference = [episodes / s for s in seconds[f"plain {other}"]]
            reference_name = f"plain {other} network, {episodes} at once"
            factor = SPEEDUPS[setting][memory]
            goal = Goal(f">= {factor:g}x the episodes/s", "ratio", minimum=factor)
            for n in rows:
                speed = [n / s for s in seconds[f"{memory} {n}"]]
                name = f"maze/{setting}-{memory}-{n}" + ("" if memory == other else f"-against-{other}")
                yield BenchResult(name, "episodes/s", speed, reference, reference_name, goal)


def reference_work(memory: str, training: Callable[..., MazeTraining], task: Maze, hidden_size: int) -> Work:
    """An update of the direct implementation."""
    sizes = task.obs_size, hidden_size, task.action_space.n
    with drawing_from(generator(0, "init")):
        network = PlasticNetwork(*sizes) if memory == "plastic" else PlainNeural(*sizes, width=min(WIDEST, hidden_size))
    return training(network, generator(0, "bench"), task=task).update


def badger_work(setting: str, memory: str, rows: int, hidden_size: int, task: Maze, device: torch.device) -> Work:
    """An update of the recipe."""
    neural: dict[str, Any] = {"core": "neural_memory", "core.width": min(WIDEST, hidden_size)}
    core = {"core": "plastic"} if memory == "plastic" else neural
    options = {**core, "core.hidden_size": hidden_size, "batch": rows, "device": device.type}
    run = build_run("maze", setting=setting, **options)
    run.learner.task = task
    return partial(_update, run.learner)


def _update(learner: object) -> None:
    learner.update()["loss"].item()  # type: ignore[attr-defined]
