"""The case of the maze: A2C on many mazes at once against plain trainings of the same networks."""

from collections.abc import Callable, Iterator
from functools import partial

import torch

from badger.bench import measure
from badger.bench.measure import Work, no_setup
from badger.bench.references import MazeTraining, PlainNeural, PlasticNetwork
from badger.bench.result import BenchResult, Goal
from badger.recipes.build import build_run
from badger.rng import drawing_from, generator
from tasks import Maze

SETTINGS = {  # setting -> its mazes, the reference, episodes that it plays at once, how many times faster we want to be
    "plasticity": (Maze.plasticity, MazeTraining.of_2018, 1, 10.0),
    "backpropamine": (Maze.backpropamine, MazeTraining.of_2019, 30, 1.5),
}
SIZES = {"plasticity": 200, "backpropamine": 100}
MEMORIES = ("plastic", "neural")


def maze_case(
    device: torch.device,
    rows: tuple[int, ...] = (30, 60),
    sizes: dict[str, int] = SIZES,
    tasks: dict[str, Maze] | None = None,
    repeats: int = 5,
) -> Iterator[BenchResult]:
    """Episodes a second of our recipe, with plastic weights and with a neural memory, against the plain training of the
    same kind of network; and with a neural memory against that of a plastic network, too, which is the published one.
    rows: episodes that ours plays at once. sizes: hidden. tasks: in place of the published mazes."""
    for setting, (published, training, episodes, factor) in SETTINGS.items():
        task, hidden = (tasks or {}).get(setting) or published(), sizes[setting]
        works = {f"plain {memory}": reference_work(memory, training, task, hidden) for memory in MEMORIES}
        works |= {
            f"{memory} {n}": badger_work(setting, memory, n, hidden, task, device) for memory in MEMORIES for n in rows
        }
        seconds = measure.time_interleaved(
            {name: no_setup(work) for name, work in works.items()}, repeats=repeats, clock=measure.wall_clock(device)
        )
        goal = Goal(f">= {factor:g}x the episodes/s", "ratio", least=factor)
        for memory, rival in (("plastic", "plastic"), ("neural", "neural"), ("neural", "plastic")):
            beside = [episodes / s for s in seconds[f"plain {rival}"]]
            about = f"plain {rival} network, {episodes} at once"
            for n in rows:
                speed = [n / s for s in seconds[f"{memory} {n}"]]
                name = f"maze/{setting}-{memory}-{n}" + ("" if memory == rival else f"-against-{rival}")
                yield BenchResult(name, "episodes/s", speed, beside, about, goal)


def reference_work(memory: str, training: Callable[..., MazeTraining], task: Maze, hidden_size: int) -> Work:
    sizes = task.obs_size, hidden_size, task.action_space.n
    with drawing_from(generator(0, "init")):
        network = PlasticNetwork(*sizes) if memory == "plastic" else PlainNeural(*sizes, width=min(100, hidden_size))
    return training(network, generator(0, "bench"), task=task).update


def badger_work(setting: str, memory: str, rows: int, hidden_size: int, task: Maze, device: torch.device) -> Work:
    run = build_run(
        "maze", setting=setting, memory=memory, batch=rows, hidden_size=hidden_size, key_size=min(100, hidden_size),
        device=device.type,
    )  # fmt: skip
    run.learner.task = task
    return partial(_updated, run.learner)


def _updated(learner: object) -> None:
    learner.update()["loss"].item()  # type: ignore[attr-defined]
