"""Benchmark of recorded episodes in a file: random windows, and memory that hardly grows with the file."""

import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

from badger.bench import measure
from badger.bench.measure import Prepare, Work, no_setup
from badger.bench.result import BenchResult, at_most
from badger.datasets import EpisodeDataset, Episodes, EpisodeWriter
from badger.recipes.build import build_run
from badger.rng import seeded_generator
from tasks import Discrete

OBS_SIZE, ACTIONS, TASK = 4, 2, "cart_pole"
BATCH = 64
"""Windows that are read at once."""
WRITTEN_EPISODES = 100
"""Episodes that are written at once, of 50 to 150 steps each."""


def episode_dataset(
    device: torch.device,
    steps: int = 1_000_000,
    windows: tuple[int, ...] = (20, 256, 1024),
    batches: int = 20,
    repeats: int = 9,
) -> Iterator[BenchResult]:
    """Memory of random windows and of training, beside a file of a tenth; time of a batch, beside tensors in memory.

    Training is that of a Decision Transformer, which keeps one number for each step, its return-to-go. Long windows are
    padded where episodes end. The time is that of the processor; data sets are on the host.
    """
    with tempfile.TemporaryDirectory() as folder:
        large, small = Path(folder) / "large.h5", Path(folder) / "small.h5"
        for path, count in ((large, steps), (small, max(1, steps // 10))):
            write_file(path, count)
        works: dict[str, Callable[..., Work]] = {
            "memory": partial(window_work, steps=max(windows)), "training-memory": training_work
        }  # fmt: skip
        for quantity, work in works.items():
            warm_up = partial(work, small, batches=1)
            peaks = [
                measure.peak_memory(partial(work, path, batches=batches), warm_up, torch.device("cpu"))
                for path in (large, small)
            ]
            note = f"{steps:,} steps, {large.stat().st_size / 1e6:.0f} MB; loaded, {batches} batches of {BATCH} windows"
            goal, name = at_most(20, "MB"), f"episode-dataset/{quantity}"
            yield BenchResult(name, "MB", peaks[:1], peaks[1:], "a tenth of the steps", goal, note)
        opened = EpisodeDataset.load(large)
        in_memory = EpisodeDataset.from_episodes(opened[:], opened.action_space)
        for size_of_window in windows:
            sides: dict[str, Prepare] = {
                name: no_setup(partial(read_windows, data, size_of_window, batches))
                for name, data in {"file": opened, "memory": in_memory}.items()
            }
            seconds = measure.time_interleaved(sides, repeats=repeats, clock=time.process_time)
            times = {name: [1e3 * s / batches for s in values] for name, values in seconds.items()}
            name = f"episode-dataset/windows-{size_of_window}"
            note = f"a batch of {BATCH} windows of {size_of_window} steps"
            yield BenchResult(name, "ms", times["file"], times["memory"], "tensors in memory", None, note)


def write_file(path: Path, steps: int) -> None:
    """Writes episodes of 50 to 150 steps, `steps` of them in all at least.

    Args:
        path: the file.
        steps: the number of steps.
    """
    rng = seeded_generator(0)
    with EpisodeWriter(path, Discrete(ACTIONS), TASK) as writer:
        while writer.steps < steps:
            writer.append(random_episodes(WRITTEN_EPISODES, rng))


def random_episodes(episodes: int, rng: torch.Generator) -> Episodes:
    """Episodes of random numbers, of 50 to 150 steps.

    Args:
        episodes: their number.
        rng: the generator.
    """
    length = torch.randint(50, 151, (episodes,), generator=rng)
    steps = int(length.max())
    inside = torch.arange(steps) < length.unsqueeze(-1)
    end = torch.arange(steps) == length.unsqueeze(-1) - 1
    obs = torch.randn(episodes, steps + 1, OBS_SIZE, generator=rng)
    action = torch.randint(ACTIONS, (episodes, steps), generator=rng)
    return Episodes(
        obs, action * inside, torch.randn(episodes, steps, generator=rng) * inside, end, end & False, length
    )


def window_work(path: Path, *, steps: int, batches: int) -> Work:
    """Loads a file and reads batches of random windows.

    Args:
        path: the file.
        steps: of a window.
        batches: their number.
    """
    return lambda: read_windows(EpisodeDataset.load(path), steps, batches)


def training_work(path: Path, *, batches: int) -> Work:
    """Loads a file and trains a small Decision Transformer for some updates.

    Args:
        path: the file.
        batches: number of updates.
    """

    def work() -> None:
        kind = "decision_transformer"
        sizes: dict[str, Any] = {"core.hidden_size": 16, "core.layers": 1, "batch": BATCH, "device": "cpu"}
        learner = build_run("offline", data=str(path), learner=kind, core=kind, **sizes).learner
        for _ in range(batches):
            learner.update()

    return work


def read_windows(data: EpisodeDataset, steps: int, batches: int) -> None:
    """Reads batches of windows that begin anywhere.

    Args:
        data: the data set.
        steps: of a window.
        batches: their number.
    """
    rng = seeded_generator(1)
    for _ in range(batches):
        rows = torch.randint(len(data), (BATCH,), generator=rng)
        start = (torch.rand(BATCH, generator=rng) * data.length[rows]).long()
        data.windows(rows, start, steps)
