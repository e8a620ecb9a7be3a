"""Benchmark of tasks: random actions in a batch of episodes, compared with one episode in plain Python."""

from collections.abc import Iterator
from functools import partial

import numpy as np
import torch

from badger.bench import measure
from badger.bench.measure import Work, no_setup
from badger.bench.references.single_envs import SINGLE_ENVS, random_rollout
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
    """Environment steps per second, resets included.

    Args:
        device: of the batch.
        rows: episodes in the batch.
        steps: steps of the batch.
        single: steps of the single environment in plain Python.
        repeats: rounds.
    """
    rng = generator(0, "bench", device=device)
    for name, task in TASKS.items():
        env = SINGLE_ENVS[type(task)](task, np.random.default_rng(0))
        actions = np.random.default_rng(1).integers(task.action_space.size, size=single)
        works: dict[str, Work] = {
            "ours": partial(random_batch_rollout, task, rows, steps, rng),
            "plain": partial(random_rollout, env, actions),
        }
        seconds = measure.time_interleaved(
            {side: no_setup(work) for side, work in works.items()}, repeats=repeats, clock=measure.wall_clock(device)
        )
        ours = [rows * steps / s for s in seconds["ours"]]
        reference = [single / s for s in seconds["plain"]]
        reference_name = f"one at a time in plain Python; {rows} rows of ours"
        yield BenchResult(f"env-throughput/{name}", "steps/s", ours, reference, reference_name, GOALS.get(name))


def random_batch_rollout(task: Task, rows: int, steps: int, rng: torch.Generator) -> None:
    """Random actions, with resets as in a rollout: tasks of fixed length reset all episodes at once."""
    env_state, _ = task.reset(rows, rng)
    for t in range(steps):
        action = torch.randint(task.action_space.size, (rows,), generator=rng, device=rng.device)
        env_state, step = task.step(env_state, action, rng)
        if not task.fixed_length:
            env_state, _ = task.restart(env_state, step.terminated | step.truncated, rng)
        elif (t + 1) % task.steps == 0:
            env_state, _ = task.reset(rows, rng)
