"""The case of the maze: A2C on many mazes at once against plain trainings of plastic networks."""

from collections.abc import Iterator
from functools import partial

import torch

from badger.bench import measure
from badger.bench.measure import Work, ready
from badger.bench.references import PlasticTraining
from badger.bench.result import Goal, Row
from badger.recipes import build
from badger.rng import drawing_from, generator
from tasks import Maze

SETTINGS = {  # setting -> the reference, episodes that it plays at once, how many times faster we want to be
    "plasticity": (PlasticTraining.of_2018, 1, 10.0),
    "backpropamine": (PlasticTraining.of_2019, 30, 1.5),
}
SIZES = {"plasticity": 200, "backpropamine": 100}


def maze(
    device: torch.device,
    rows: int = 30,
    sizes: dict[str, int] = SIZES,
    tasks: dict[str, Maze] | None = None,
    repeats: int = 5,
) -> Iterator[Row]:
    """Episodes a second of our recipe, with plastic weights and with a neural memory, against the plain training of a
    plastic network of the same setting. sizes: hidden. tasks: in place of the published mazes."""
    for setting, (reference, episodes, factor) in SETTINGS.items():
        task = (tasks or {}).get(setting)
        with drawing_from(generator(0, "init")):
            options = {} if task is None else {"task": task}
            plain = reference(generator(0, "bench"), hidden_size=sizes[setting], **options)
        works = {"plain": plain.update} | {
            memory: ours(setting, memory, rows, sizes[setting], task, device) for memory in ("plastic", "neural")
        }
        seconds = measure.in_turn(
            {name: ready(work) for name, work in works.items()}, repeats=repeats, clock=measure.wall(device)
        )
        speed = {name: [(episodes if name == "plain" else rows) / s for s in seconds[name]] for name in works}
        for memory in ("plastic", "neural"):
            goal = Goal(f">= {factor:g}x the episodes/s", "ratio", least=factor)
            about = f"plain plastic network, {episodes} at once"
            yield Row(f"maze/{setting}-{memory}", "episodes/s", speed[memory], speed["plain"], about, goal)


def ours(setting: str, memory: str, rows: int, hidden_size: int, task: Maze | None, device: torch.device) -> Work:
    run = build(
        "maze", setting=setting, memory=memory, batch=rows, hidden_size=hidden_size, key_size=min(100, hidden_size),
        device=device.type,
    )  # fmt: skip
    if task is not None:
        run.learner.task = task
    return partial(_updated, run.learner)


def _updated(learner: object) -> None:
    learner.update()["loss"].item()  # type: ignore[attr-defined]
