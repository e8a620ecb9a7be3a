"""Benchmarks: time and peak memory of this library, measured alternately with a reference implementation.

- `badger.bench.cases`: the benchmarks. Each is a function of the device that yields results; its other arguments are
  sizes, with those of BENCHMARKS.md as defaults.
- `badger.bench.references`: implementations of the same computations without this library.
- `badger.bench.measure`: alternating measurement of time; peak memory, measured in a separate process.
- `badger.bench.result`: results, the Markdown table, JSON.

`BENCHMARKS` has all benchmarks by name; `badger bench` also runs a user's own, `module:function`.

```python
from badger.bench import BenchResult, table

result = BenchResult("memory/time", "s", ours=[0.10, 0.11], reference=[0.20, 0.21], reference_name="dense ring buffer")
assert result.ratio < 1
print(table([result]))
```
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

import torch

from badger.bench.cases.agents import badger_2019, logging, memory_overhead
from badger.bench.cases.crowd import experts
from badger.bench.cases.dnc import dnc_case
from badger.bench.cases.env_throughput import env_throughput
from badger.bench.cases.episodic_store import episodic_store
from badger.bench.cases.external_envs import external_envs
from badger.bench.cases.learners.populations import low_rank_noise
from badger.bench.cases.learners.recurrent_ppo import recurrent_ppo_case
from badger.bench.cases.maze import maze_case
from badger.bench.cases.memory import episode_length, memory_vs_dense, memory_vs_gru
from badger.bench.cases.memory_costs.lengths import input_crossing, input_length
from badger.bench.cases.memory_costs.price import memory_price
from badger.bench.cases.million import million_slots
from badger.bench.cases.offline import offline
from badger.bench.cases.offline_data import episode_dataset
from badger.bench.cases.sharded import sharded_experts
from badger.bench.cases.sparse import sam_million, sdnc_vs_dnc
from badger.bench.result import BenchResult, as_json, table, versions
from badger.registry import resolve_name

Benchmark: TypeAlias = Callable[[torch.device], Iterator[BenchResult]]
"""A function of the device that yields results as they are measured."""

BENCHMARKS: dict[str, Benchmark] = {
    "memory-vs-dense": memory_vs_dense,
    "memory-vs-gru": memory_vs_gru,
    "memory-overhead": memory_overhead,
    "episode-length": episode_length,
    "memory-price": memory_price,
    "input-length": input_length,
    "input-crossing": input_crossing,
    "million-slots": million_slots,
    "sam-million": sam_million,
    "sdnc-vs-dnc": sdnc_vs_dnc,
    "dnc": dnc_case,
    "maze": maze_case,
    "env-throughput": env_throughput,
    "external-envs": external_envs,
    "recurrent-ppo": recurrent_ppo_case,
    "episodic-store": episodic_store,
    "episode-dataset": episode_dataset,
    "offline": offline,
    "evolution": low_rank_noise,
    "badger-2019": badger_2019,
    "experts": experts,
    "shard-experts": sharded_experts,
    "logging": logging,
}
"""Benchmarks by name, as `badger bench` accepts them."""


def bench(names: Sequence[str], device: torch.device) -> Iterator[BenchResult]:
    """Runs benchmarks one after the other and yields their results as they are measured.

    Args:
        names: keys of `BENCHMARKS`, or `module:function` of a user's own; empty: all benchmarks.
        device: where the computations run.

    Raises:
        ValueError: no benchmark has one of the names. It is raised before anything is measured.
    """
    for benchmark in find_benchmarks(names):
        yield from benchmark(device)


def find_benchmarks(names: Sequence[str]) -> list[Benchmark]:
    """Benchmarks by name.

    Args:
        names: keys of `BENCHMARKS`, or `module:function` of a user's own; empty: all benchmarks.

    Raises:
        ValueError: no benchmark has one of the names.
    """
    return [resolve_name(BENCHMARKS, name, "benchmark", callable) for name in names or BENCHMARKS]


__all__ = ["BENCHMARKS", "BenchResult", "Benchmark", "as_json", "bench", "find_benchmarks", "table", "versions"]
