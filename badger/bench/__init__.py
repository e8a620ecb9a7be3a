"""Benchmarks: each case measures time or memory of this library and of a reference, and compares them with a goal.

- `badger.bench.cases`: the cases. Each is a function of the device; its other arguments are sizes, with those of
  BENCHMARKS.md as defaults.
- `badger.bench.references`: implementations without this library, with equal results.
- `badger.bench.measure`: alternating measurement of time, and peak memory in a process of its own.
- `badger.bench.result`: the rows, the table, JSON.

`BENCHMARKS` has every case by name.

```python
from badger.bench import Row, table

row = Row("memory/time", "s", ours=[0.10, 0.11], reference=[0.20, 0.21], against="dense ring buffer")
assert row.ratio < 1
print(table([row]))
```
"""

from collections.abc import Callable, Iterator, Sequence

import torch

from badger.bench.cases.agents import badger_2019, logging, memory_overhead
from badger.bench.cases.crowd import experts
from badger.bench.cases.dnc import dnc_case
from badger.bench.cases.lengths import input_crossing, input_length
from badger.bench.cases.maze import maze_case
from badger.bench.cases.memory import episode_length, memory_vs_dense, memory_vs_gru
from badger.bench.cases.million import million_slots
from badger.bench.cases.recurrent_ppo import recurrent_ppo_case
from badger.bench.cases.worlds import env_throughput
from badger.bench.result import BenchResult, as_json, table, versions
from comms import get_by_name

BENCHMARKS: dict[str, Callable[[torch.device], Iterator[BenchResult]]] = {
    "memory-vs-dense": memory_vs_dense,
    "memory-vs-gru": memory_vs_gru,
    "price-of-memory": memory_overhead,
    "episode-length": episode_length,
    "input-length": input_length,
    "input-crossing": input_crossing,
    "million-slots": million_slots,
    "dnc": dnc_case,
    "maze": maze_case,
    "env-throughput": env_throughput,
    "recurrent-ppo": recurrent_ppo_case,
    "badger-2019": badger_2019,
    "experts": experts,
    "logging": logging,
}
"""Cases by name."""


def bench(names: Sequence[str], device: torch.device) -> Iterator[BenchResult]:
    """The rows of those cases, as they are measured; of all cases where none is named.

    Raises:
        ValueError: there is no case of that name.
    """
    cases = [get_by_name(BENCHMARKS, name, "case") for name in names or BENCHMARKS]
    for case in cases:
        yield from case(device)


__all__ = ["BENCHMARKS", "BenchResult", "as_json", "bench", "table", "versions"]
