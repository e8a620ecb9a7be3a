"""The benchmark: each case measures ours and a reference in turn, and says whether its goal is reached.

A case is a function of the device; its other arguments are the sizes, those of BENCHMARKS.md where none are given.
"""

from collections.abc import Callable, Iterator, Sequence

import torch

from badger.bench.cases.agents import badger_2019, logging, price_of_memory
from badger.bench.cases.crowd import experts
from badger.bench.cases.dnc import dnc
from badger.bench.cases.lengths import input_crossing, input_length
from badger.bench.cases.maze import maze
from badger.bench.cases.memory import episode_length, memory_vs_dense, memory_vs_gru
from badger.bench.cases.million import million_slots
from badger.bench.cases.recurrent_ppo import recurrent_ppo
from badger.bench.cases.worlds import worlds
from badger.bench.result import Row, as_json, table, versions
from comms import pick

CASES: dict[str, Callable[[torch.device], Iterator[Row]]] = {
    "memory-vs-dense": memory_vs_dense,
    "memory-vs-gru": memory_vs_gru,
    "price-of-memory": price_of_memory,
    "episode-length": episode_length,
    "input-length": input_length,
    "input-crossing": input_crossing,
    "million-slots": million_slots,
    "dnc": dnc,
    "maze": maze,
    "worlds": worlds,
    "recurrent-ppo": recurrent_ppo,
    "badger-2019": badger_2019,
    "experts": experts,
    "logging": logging,
}
"""Cases by name."""


def bench(names: Sequence[str], device: torch.device) -> Iterator[Row]:
    """The rows of those cases, as they are measured; of all cases where none is named.

    Raises:
        ValueError: there is no case of that name.
    """
    cases = [pick(CASES, name, "case") for name in names or CASES]
    for case in cases:
        yield from case(device)


__all__ = ["CASES", "Row", "as_json", "bench", "table", "versions"]
