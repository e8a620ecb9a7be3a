"""Benchmark of external environments: random actions in the task `Gymnasium`, compared with Gymnasium's vector."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch

from badger.bench import measure
from badger.bench.measure import Work, no_setup
from badger.bench.result import BenchResult, Goal, min_ratio
from badger.rng import generator
from tasks import Continuous, Gymnasium
from tasks.adapters.optional_imports import require_gymnasium

GOALS: dict[str, Goal] = {"CartPole-v1": min_ratio(0.45)}


def external_envs(
    device: torch.device,
    names: tuple[str, ...] = ("CartPole-v1", "Pendulum-v1"),
    rows: int = 16,
    steps: int = 1000,
    repeats: int = 5,
) -> Iterator[BenchResult]:
    """Environment steps per second in this process, resets included.

    Args:
        device: of the task's tensors.
        names: ids of Gymnasium.
        rows: copies of the environment.
        steps: steps of all copies.
        repeats: rounds.
    """
    gymnasium = require_gymnasium()
    for name in names:
        vector = gymnasium.vector.SyncVectorEnv([partial(gymnasium.make, name)] * rows)
        works: dict[str, Work] = {
            "ours": partial(random_task_steps, Gymnasium(name), rows, steps, generator(0, "bench", device=device)),
            "vector": partial(random_vector_steps, vector, steps),
        }
        seconds = measure.time_interleaved(
            {side: no_setup(work) for side, work in works.items()}, repeats=repeats, clock=measure.wall_clock(device)
        )
        ours, reference = ([rows * steps / s for s in seconds[side]] for side in works)
        label = f"gymnasium's SyncVectorEnv; {rows} copies"
        yield BenchResult(f"external-envs/{name}", "steps/s", ours, reference, label, GOALS.get(name))


def random_task_steps(task: Gymnasium, rows: int, steps: int, rng: torch.Generator) -> None:
    """Random actions, with resets as in a rollout: in the step after the end."""
    space = task.action_space
    state, step = task.reset(rows, rng)
    for _ in range(steps):
        over = step.terminated | step.truncated
        if isinstance(space, Continuous):
            action = torch.rand(rows, space.size, generator=rng, device=rng.device)
        else:
            action = torch.randint(space.size, (rows,), generator=rng, device=rng.device)
        state, step = task.step(state, action, rng)
        if over.any():
            state, step = task.restart(state, over, rng)


def random_vector_steps(vector: Any, steps: int) -> None:
    """Random actions in an environment that resets by itself."""
    vector.reset(seed=0)
    for _ in range(steps):
        vector.step(vector.action_space.sample())
