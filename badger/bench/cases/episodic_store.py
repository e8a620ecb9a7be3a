"""Benchmark of the episodic store: nearest neighbors of one and of many queries, beside faiss and hnswlib."""

import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec

import numpy as np
import torch

from badger.bench import measure
from badger.bench.measure import Prepare, no_setup
from badger.bench.result import BenchResult
from badger.learners.episodic_control.hnsw import HNSWIndex
from badger.learners.episodic_control.store import EpisodicStore
from badger.rng import seeded_generator
from experts.sparse.inverted_file import load_faiss

KEY_SIZE, K = 64, 11
QUERIES = (1, 32)


def episodic_store(
    device: torch.device, rows: tuple[int, ...] = (50_000, 200_000), hnsw_rows: int = 50_000, repeats: int = 9
) -> Iterator[BenchResult]:
    """Time of an exact query, k = 11 of keys of 64 numbers, compared with torch.cdist, faiss (flat) and hnswlib.

    The libraries are measured where they are installed (faiss-cpu, hnswlib); hnswlib up to `hnsw_rows` rows, as its
    graph is slow to build. The time is that of the processor on the CPU.
    """
    clock = measure.wall_clock(device) if device.type == "cuda" else time.process_time
    for count in rows:
        keys = torch.randn(count, KEY_SIZE, generator=seeded_generator(0))
        store = EpisodicStore(1, KEY_SIZE, capacity=count).to(device)
        store.write(keys, torch.zeros(count, dtype=torch.long), torch.zeros(count))
        searches = _references(keys.numpy(), with_hnsw=count <= hnsw_rows)
        for queries in QUERIES:
            query = torch.randn(queries, KEY_SIZE, generator=seeded_generator(1))
            sides: dict[str, Prepare] = {
                name: no_setup(partial(search, query.numpy(), K)) for name, search in searches.items()
            }
            sides["ours"] = no_setup(partial(store.query, query.to(device), 0, K))
            seconds = measure.time_interleaved(sides, repeats=repeats, clock=clock)
            for name in searches:
                label = f"episodic-store/{count}-rows/{queries}-queries/{name}"
                yield BenchResult(label, "s", seconds["ours"], seconds[name], name)


def _references(keys: np.ndarray, *, with_hnsw: bool) -> dict[str, Callable[[np.ndarray, int], object]]:
    """The searches by name: all distances by torch, and those of the installed libraries."""
    table = torch.from_numpy(keys)
    searches: dict[str, Callable[[np.ndarray, int], object]] = {
        "torch.cdist": lambda query, k: torch.cdist(torch.from_numpy(query), table).topk(k, largest=False)
    }
    if find_spec("faiss"):
        flat = load_faiss("episodic-store").IndexFlatL2(KEY_SIZE)
        flat.add(keys)
        searches["faiss flat"] = flat.search
    if with_hnsw and find_spec("hnswlib"):
        graph = HNSWIndex(KEY_SIZE, len(keys))
        graph.set(np.arange(len(keys)), keys)
        searches["hnswlib"] = graph.search
    return searches
