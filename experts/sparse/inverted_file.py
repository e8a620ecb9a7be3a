"""An inverted file, IVF: approximate nearest neighbors by the optional library faiss.

Words are listed by their nearest *centroid*, a direction; a query is compared with the words of the lists whose
centroids are nearest to it. A word that changes moves from list to list in microseconds.

Shapes: n words, W numbers in a word, C centroids, M queries.

Source: Jegou, Douze and Schmid 2011, "Product quantization for nearest neighbor search", section IV, without the codes.
"""

from importlib.util import find_spec
from typing import Any

import numpy as np

SAMPLE = 64  # words a centroid, from which centroids are learned


def load_faiss(argument: str) -> Any:
    """The library faiss.

    Args:
        argument: what needs it, as the user typed it.

    Raises:
        ValueError: it is not installed.
    """
    if find_spec("faiss") is None:
        raise ValueError(f"{argument} needs the library faiss: pip install 'badger-agents[ivf]', or use index=exact")
    import faiss

    return faiss


def learned_centroids(words: np.ndarray) -> np.ndarray:
    """Centroids (C, W) of directions by k-means, from a sample of the words with a fixed seed.

    C is about the square root of the number of words.

    Args:
        words: (n, W) float32 of norm 1.
    """
    lists = 1 << (len(words).bit_length() // 2)
    options = {"niter": 10, "seed": 0, "spherical": True, "max_points_per_centroid": SAMPLE}
    kmeans = load_faiss("index=ivf").Kmeans(words.shape[1], lists, min_points_per_centroid=1, **options)
    kmeans.train(words)
    return kmeans.centroids


class InvertedFile:
    """Words by number, of which those with the largest inner product with a query are found, most of them.

    Args:
        centroids: (C, W) float32.
    """

    def __init__(self, centroids: np.ndarray):
        self._faiss = load_faiss("index=ivf")
        self._quantizer = self._faiss.IndexFlatIP(centroids.shape[1])  # kept: the file has a pointer to it
        self._quantizer.add(centroids)
        self._file = self._faiss.IndexIVFFlat(
            self._quantizer, centroids.shape[1], len(centroids), self._faiss.METRIC_INNER_PRODUCT
        )
        self._file.is_trained = True
        self._file.set_direct_map_type(self._faiss.DirectMap.Hashtable)  # finds the list of a word without a search

    def add(self, numbers: np.ndarray, words: np.ndarray) -> None:
        """Adds words.

        Args:
            numbers: (n,) int64, none of which has a word.
            words: (n, W) float32.
        """
        self._file.add_with_ids(words, numbers)

    def remove(self, numbers: np.ndarray) -> None:
        """Removes the words of these numbers (n,), where there are any."""
        self._file.remove_ids(self._faiss.IDSelectorArray(numbers))

    def search(self, query: np.ndarray, k: int, probes: int) -> np.ndarray:
        """Numbers (M, k), the largest inner product first; -1 where the lists that are searched have fewer words.

        Args:
            query: (M, W) float32.
            k: at least 1.
            probes: lists to search for each query.
        """
        self._file.nprobe = probes
        return self._file.search(query, k)[1]
