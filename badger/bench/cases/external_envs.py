"""Benchmarks of external environments: random actions in tasks, compared with Gymnasium's and PettingZoo's own loops.

Three rows are about workers: images in shared memory; a slow environment, which has workers by default; and CartPole,
which has none.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch

from badger.bench import measure
from badger.bench.measure import Work, no_setup
from badger.bench.references.env_loops import (
    pool_steps,
    random_agent_steps,
    random_task_steps,
    random_vector_steps,
    zeros_env,
)
from badger.bench.result import BenchResult, Goal, min_ratio
from badger.rng import generator
from tasks import EnvLimits, EnvPool, Gymnasium, PettingZoo
from tasks.adapters.inbound.multi_agent_env import parallel_env_factory
from tasks.adapters.inbound.workers.worker_count import available_cores
from tasks.adapters.optional_imports import require_gymnasium

GOALS: dict[str, Goal] = {
    "CartPole-v1": min_ratio(0.45),
    "images": min_ratio(1),
    "slow": min_ratio(1.5),
    "fast": min_ratio(0.9),
    "simple_spread": min_ratio(0.7),
}
PIXELS = (210, 160, 3)
SPREAD = "mpe2.simple_spread_v3"


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
    gymnasium, rng = require_gymnasium(), generator(0, "bench", device=device)
    compared = partial(_compare, device=device, rows=rows, repeats=repeats)
    for name in names:
        vector = gymnasium.vector.SyncVectorEnv([partial(gymnasium.make, name)] * rows)
        ours, reference = random_task_steps(Gymnasium(name, num_workers=1), rows, rng), random_vector_steps(vector)
        yield compared(name, steps, ours, reference, "gymnasium's SyncVectorEnv", GOALS.get(name))
    steps = -(-steps // 10)
    pixels, workers = partial(zeros_env, PIXELS, 0.0), min(2, rows)
    vector = gymnasium.vector.AsyncVectorEnv([pixels] * rows)
    ours, reference = (
        pool_steps(EnvPool(pixels, EnvLimits("images"), num_workers=workers), rows, rng),
        random_vector_steps(vector),
    )
    yield compared(f"images, {workers} workers", steps, ours, reference, "gymnasium's AsyncVectorEnv", GOALS["images"])
    vector.close()
    envs: dict[str, Any] = {"slow": partial(zeros_env, (4,), 0.002), "fast": "CartPole-v1"}
    for name, env in envs.items():
        ours, reference = (random_task_steps(Gymnasium(env, num_workers=count), rows, rng) for count in (None, 1))
        goal = GOALS[name] if name == "fast" or available_cores() > 1 else None
        yield compared(f"{name}, default workers", steps, ours, reference, "num_workers=1", goal)
    try:
        ours = random_task_steps(PettingZoo(env=SPREAD, num_workers=1), rows, rng)
    except ValueError as error:
        yield BenchResult("external-envs/simple_spread", "steps/s", note=f"not measured: {error}")
        return
    reference = random_agent_steps(parallel_env_factory(SPREAD)(), rows)
    yield compared(
        "simple_spread", steps, ours, reference, "PettingZoo's parallel_env in a loop, no task", GOALS["simple_spread"]
    )


def _compare(
    name: str, steps: int, ours: Callable[[int], object], reference: Callable[[int], object], reference_name: str,
    goal: Goal | None = None, *, device: torch.device, rows: int, repeats: int,
) -> BenchResult:  # fmt: skip
    """Environment steps per second of two functions of a number of steps."""
    works: Mapping[str, Work] = {"ours": partial(ours, steps), "reference": partial(reference, steps)}
    seconds = measure.time_interleaved(
        {side: no_setup(work) for side, work in works.items()}, repeats=repeats, clock=measure.wall_clock(device)
    )
    our_rate, other_rate = ([rows * steps / s for s in seconds[side]] for side in works)
    label = f"{reference_name}; {rows} copies"
    return BenchResult(f"external-envs/{name}", "steps/s", our_rate, other_rate, label, goal)
