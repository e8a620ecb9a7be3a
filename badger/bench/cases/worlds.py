"""The case of the worlds of memory: random actions in many episodes at once, against one in plain Python."""

from collections.abc import Iterator
from functools import partial

import numpy as np
import torch

from badger.bench import measure
from badger.bench.measure import Work, no_setup
from badger.bench.references.worlds import SINGLE_ENVS, random_rollout
from badger.bench.result import BenchResult, Goal, at_least
from badger.rng import generator
from tasks import CardGame, CartPole, ProofOfMemory, Task, TMaze, TMazeLong

TASKS: dict[str, Task] = {
    "t_maze": TMaze(20),
    "t_maze_long": TMazeLong(100),
    "t_maze_long_noise": TMazeLong(100, True),
    "cart_pole": CartPole(),
    "proof_of_memory": ProofOfMemory(),
    "card_game": CardGame(8),
}
GOALS: dict[str, Goal] = {"t_maze": at_least(1e6, "steps/s")}


def env_throughput(
    device: torch.device, rows: int = 1024, steps: int = 300, single: int = 3000, repeats: int = 5
) -> Iterator[BenchResult]:
    """Steps a second, new episodes included, of `rows` episodes at once that make `steps` steps each; and of one world
    in plain Python that makes `single` steps."""
    rng = generator(0, "bench", device=device)
    for name, task in TASKS.items():
        plain = SINGLE_ENVS[type(task)](task, np.random.default_rng(0))
        actions = np.random.default_rng(1).integers(task.action_space.size, size=single)
        works: dict[str, Work] = {
            "ours": partial(play, task, rows, steps, rng),
            "plain": partial(random_rollout, plain, actions),
        }
        seconds = measure.time_interleaved(
            {side: no_setup(work) for side, work in works.items()}, repeats=repeats, clock=measure.wall_clock(device)
        )
        ours = [rows * steps / s for s in seconds["ours"]]
        reference = [single / s for s in seconds["plain"]]
        about = f"one at a time in plain Python; {rows} rows of ours"
        yield BenchResult(f"worlds/{name}", "steps/s", ours, reference, about, GOALS.get(name))


def play(task: Task, rows: int, steps: int, rng: torch.Generator) -> None:
    """Random choices, and new episodes as in a rollout: where they end at a step that is known, all at once."""
    world, _ = task.reset(rows, rng)
    for t in range(steps):
        action = torch.randint(task.action_space.size, (rows,), generator=rng, device=rng.device)
        world, step = task.step(world, action, rng)
        if not task.fixed_length:
            world, _ = task.restart(world, step.terminated | step.truncated, rng)
        elif (t + 1) % task.steps == 0:
            world, _ = task.reset(rows, rng)
