"""Approximate nearest neighbors by a hierarchical navigable small world graph, the optional library `hnswlib`.

Source: Malkov and Yashunin 2018, arXiv:1603.09320.
"""

from importlib.util import find_spec
from typing import Any

import numpy as np


def check_installed() -> None:
    """Refuses an approximate index where its library is missing.

    Raises:
        ValueError: hnswlib is not installed.
    """
    if find_spec("hnswlib") is None:
        raise ValueError("index=hnsw needs the library hnswlib: pip install hnswlib, or use index=exact")


class HNSWIndex:
    """An index of keys by row, on the host. A row that is set again moves to its new key.

    Args:
        key_size: K, numbers of a key.
        capacity: rows at most.
    """

    def __init__(self, key_size: int, capacity: int):
        import hnswlib

        self.graph: Any = hnswlib.Index(space="l2", dim=key_size)
        self.graph.init_index(max_elements=capacity, ef_construction=100, M=16, random_seed=0)
        self.graph.set_num_threads(1)  # with more the graph would depend on the order of the threads

    def set(self, rows: np.ndarray, keys: np.ndarray) -> None:
        """Sets the keys of rows.

        Args:
            rows: (N,) indices.
            keys: (N, K).
        """
        self.graph.add_items(keys.astype(np.float32), rows)

    def search(self, query: np.ndarray, k: int) -> np.ndarray:
        """(N, k) rows that are nearest, most of them; k is at most the number of rows.

        Args:
            query: (N, K).
            k: number of neighbors.
        """
        self.graph.set_ef(max(100, 2 * k))
        rows, _ = self.graph.knn_query(query.astype(np.float32), k=k)
        return rows.astype(np.int64)
