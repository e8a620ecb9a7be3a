"""Benchmarks of training: overhead of memory, the published agent of 2019, and the overhead of logging."""

import tempfile
import time
from collections.abc import Iterator
from functools import partial
from itertools import chain, repeat
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch

from badger import act, sense
from badger.agent import Agent
from badger.bench import measure
from badger.bench.measure import Prepare, Work, no_setup
from badger.bench.references import AttentionAgent, Training, broadcast_multiply, matrix_products
from badger.bench.references.attention_2019 import Attend
from badger.bench.result import BenchResult, Goal, at_least, max_ratio, on_gpu
from badger.learners import BPTT
from badger.recipes.build import build_run
from badger.rng import drawing_from, generator
from badger.runs.run import Run
from badger.runs.training import train
from comms import Attention
from experts import GRU, Core, EpisodicMemory, Private
from tasks import GuessingGame

ORIGINAL = 8.4  # CPU-seconds per outer step of the original code, on one core
REWRITE = 1.3  # of the original code with matrix products
PARAMETERS = 80_977  # of the original


def memory_overhead(
    device: torch.device, recipe: dict[str, Any] | None = None, repeats: int = 20
) -> Iterator[BenchResult]:
    """Time of an outer step of the agent that `make demo` trains, with private memories and without."""
    runs = {core: _make_run(device, recipe, core=core) for core in ("episodic", "gru")}
    sides = {core: no_setup(run.learner.update) for core, run in runs.items()}
    seconds = measure.time_interleaved(sides, repeats=repeats, clock=measure.wall_clock(device))
    times = {core: [1e3 * s for s in values] for core, values in seconds.items()}
    yield BenchResult(
        "memory-overhead", "ms an outer step", times["episodic"], times["gru"], "no memory", max_ratio(1.95)
    )


def _make_run(device: torch.device, recipe: dict[str, Any] | None, **extra: Any) -> Run:
    return build_run("guessing_game", **{**(recipe or {}), **extra, "device": str(device)})


class Game(NamedTuple):
    """Sizes of the agent of Rosa et al. 2019; ours has at least as many parameters as the original."""

    batch: int = 100
    experts: int = 20
    dims: int = 3
    steps: int = 20
    hidden_size: int = 104
    message_size: int = 64
    key_size: int = 16
    identity_size: int = 16

    def learner(self, device: torch.device, *, memory: bool) -> BPTT:
        """Ours: a GRU, attention with 4 heads, and a readout by attention."""
        task = GuessingGame(dims=self.dims, steps=self.steps)
        input_size = task.obs_size + self.message_size + self.identity_size
        controller = partial(GRU, hidden_size=self.hidden_size)
        with drawing_from(generator(0, "init")):
            core: Core = Private(EpisodicMemory(input_size, controller)) if memory else controller(input_size)
            agent = Agent(
                sense=sense.Broadcast(task.obs_size),
                core=core,
                bus=Attention(self.hidden_size, self.message_size, heads=4, key_size=self.key_size),
                act=act.Readout(self.hidden_size, self.dims),
                experts=self.experts,
                identity_size=self.identity_size,
            )
        return BPTT(agent.to(device), task, batch=self.batch, cuda_graph=device.type == "cuda")

    def reference(self, device: torch.device, attend: Attend) -> Training:
        """The published agent with one of two forms of attention."""
        with drawing_from(generator(0, "init")):
            agent = AttentionAgent(attend).to(device)
        rng = generator(0, "train", device=device)
        return Training(agent, batch=self.batch, experts=self.experts, dims=self.dims, steps=self.steps, rng=rng)


def badger_2019(device: torch.device, game: Game = Game(), repeats: int = 4) -> Iterator[BenchResult]:  # noqa: B008
    """CPU-seconds of an outer step, compared with two forms of the published agent."""
    learners: dict[str, BPTT | Training] = {
        "ours": game.learner(device, memory=False),
        "memory": game.learner(device, memory=True),
        "broadcast": game.reference(device, broadcast_multiply),
        "products": game.reference(device, matrix_products),
    }
    sides = {name: no_setup(learner.update) for name, learner in learners.items()}
    cpu = measure.time_interleaved(sides, repeats=repeats, clock=time.process_time)
    published_goal = Goal(f">= 40x fewer than {ORIGINAL}", "ours", maximum=ORIGINAL / 40)
    ratio_goal = max_ratio(0.95)
    names = {"broadcast": "broadcast multiply", "products": "matrix products"}
    for name, ours, reference, goal in (
        ("broadcast-multiply", "ours", "broadcast", published_goal),
        ("matrix-products", "ours", "products", ratio_goal),
        ("memory", "memory", "broadcast", None),
    ):
        yield _with_published_note(
            BenchResult(f"badger-2019/{name}", "CPU-s", cpu[ours], cpu[reference], names[reference], goal)
        )
    yield on_gpu(device, *GPU, lambda: _outer_steps(device, sides, repeats))


GPU = ("badger-2019/gpu", "outer steps/s", at_least(300, "outer steps/s"))


def _with_published_note(row: BenchResult) -> BenchResult:
    ours = median(row.ours)
    original, rewrite = (f"{cost / ours:.1f}x fewer than the {cost}" for cost in (ORIGINAL, REWRITE))
    return row._replace(note=f"{original} of the original, {rewrite} of its rewrite")


def _outer_steps(device: torch.device, sides: dict[str, Prepare], repeats: int) -> BenchResult:
    compared = {name: sides[name] for name in ("ours", "products")}
    seconds = measure.time_interleaved(compared, repeats=repeats, clock=measure.wall_clock(device))
    ours, reference = ([1 / s for s in values] for values in seconds.values())
    name, unit, goal = GPU
    return BenchResult(name, unit, ours, reference, "matrix products", goal)


def logging(
    device: torch.device, recipe: dict[str, Any] | None = None, outer_steps: int = 300, repeats: int = 3
) -> Iterator[BenchResult]:
    """Training with metrics, checkpoints, figures and TensorBoard, compared with training without them.

    300 outer steps are a fifth of the demo. The warm-up round, which is not counted, is one step: it loads the modules
    that logging needs.
    """
    with tempfile.TemporaryDirectory() as folder:
        sides: dict[str, Prepare] = {}
        for name in ("logged", "plain"):
            lengths = chain([1], repeat(outer_steps))
            sides[name] = partial(_prepare_training, device, recipe, lengths, folder if name == "logged" else None)
        seconds = measure.time_interleaved(sides, repeats=repeats, clock=measure.wall_clock(device))
    note = f"{outer_steps} outer steps of the demo, one inspection"
    yield BenchResult("logging", "s", seconds["logged"], seconds["plain"], "no logging", max_ratio(1.05), note)


def _prepare_training(
    device: torch.device, recipe: dict[str, Any] | None, lengths: Iterator[int], folder: str | None
) -> Work:
    """Training of a new run, in a new folder below `folder`, or without one."""
    run, length = _make_run(device, recipe), next(lengths)
    run.folder = None if folder is None else Path(tempfile.mkdtemp(dir=folder))
    return lambda: train(run, length, quiet=True)
