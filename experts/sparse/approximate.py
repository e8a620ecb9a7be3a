"""Approximate search of the slots of a sparse memory, `index="ivf"`, which follows the writes.

Centroids are learned in seconds: first when `FEWEST` words have been written in an episode, and again when as many have
been written as the store then held. Before, all slots are searched.

What is found follows from the content of the store and the centroids alone. The centroids are part of the state
(`IVF`). The lists are a cache (`Lists`): they are built anew from content and centroids where a state is loaded or an
old one is used again, and find the same slots, but for words whose nearest centroid, or whose rank as a candidate, is
decided by rounding. No gradient passes through a search, so that the backward pass needs no lists.

Shapes: S stores, R slots, W slot size, M queries a store, C centroids.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from experts.sparse.arrays import Arrays
from experts.sparse.inverted_file import InvertedFile, learned_centroids, load_faiss
from experts.sparse.search import nearest
from experts.torch_internals import functorch_active, not_compiled

FEWEST = 16_384  # words; fewer are searched as quickly without lists
CANDIDATES = 4  # for each slot that is found; their similarities are then computed as in exact search


class IVF(NamedTuple):
    """What the search of one store follows from, beside its content.

    Args:
        probes: lists that are searched for a query.
        left: words to be written until centroids are learned.
        centroids: (C, W), directions; None: all slots are searched.
    """

    probes: int
    left: int
    centroids: Tensor | None = None

    def written(self, count: int, arrays: Arrays, store: int, start: Tensor | None) -> "IVF":
        """That after a write, with new centroids if they are due.

        Args:
            count: words written.
            arrays: the slots of all stores.
            store: number of the store.
            start: (S,), first stamp of the present episode; None: no slot is stale.
        """
        if count < self.left or arrays.memory.is_meta:  # on the meta device words have no values
            return self._replace(left=self.left - count)
        _, words = _directions(arrays, store, start)
        if len(words) < FEWEST:
            return self._replace(left=FEWEST)
        return IVF(self.probes, len(words), torch.from_numpy(learned_centroids(words)).to(arrays.memory))


def search_by(index: str, probes: int) -> IVF | None:
    """The search of an empty store by the options of a core; None: exact search.

    Args:
        index: exact or ivf.
        probes: lists that are searched for a query.

    Raises:
        ValueError: another index, fewer than one list, or faiss is not installed.
    """
    if index not in ("exact", "ivf"):
        raise ValueError(f"index={index!r}, want exact or ivf")
    if probes < 1:
        raise ValueError(f"probes={probes}, want at least 1")
    if index == "exact":
        return None
    load_faiss("index=ivf")
    return IVF(probes, FEWEST)


class Lists:
    """The words of all stores, each listed by its nearest centroid."""

    def __init__(self) -> None:
        self._files: dict[int, tuple[Tensor, InvertedFile]] = {}  # with the centroids that each is of
        self._changed: list[Tensor] = []

    def note(self, rows: Tensor) -> None:
        """Notes that slots (S, n) have changed."""
        if self._files:
            self._changed.append(rows)

    @not_compiled
    def nearest(self, ivf: tuple[IVF, ...], query: Tensor, arrays: Arrays, start: Tensor | None, k: int) -> Tensor:
        """Slots (S, M, k), most of which are those with the highest cosine similarity to each query.

        Args:
            ivf: S of them.
            query: (S, M, W).
            arrays: the slots.
            start: (S,), first stamp of the present episode; None: no slot is stale.
            k: at most R.

        Raises:
            ValueError: under a transform of torch.func.
        """
        if functorch_active():
            raise ValueError("index=ivf: faiss does not search under torch.func (vmap, grad); use index=exact")
        self._follow(ivf, arrays, start)
        return torch.cat([self._of_store(s, one, query[s], arrays, start, k) for s, one in enumerate(ivf)])

    def _follow(self, ivf: tuple[IVF, ...], arrays: Arrays, start: Tensor | None) -> None:
        """Lists the slots that have changed, and forgets the lists of other centroids."""
        self._files = {store: kept for store, kept in self._files.items() if kept[0] is ivf[store].centroids}
        for store, (_, file) in self._files.items() if self._changed else ():
            rows = torch.cat([rows[store] for rows in self._changed]).unique()
            file.remove(rows.cpu().numpy())
            file.add(*_directions(arrays, store, start, rows))
        self._changed = []

    def _of_store(self, store: int, ivf: IVF, query: Tensor, arrays: Arrays, start: Tensor | None, k: int) -> Tensor:
        """Slots (1, M, k) of one store."""
        memory, scale, stamp = (part[store] for part in arrays.tensors[:3])
        if ivf.centroids is not None:
            if store not in self._files:
                file = InvertedFile(ivf.centroids.float().cpu().numpy())
                file.add(*_directions(arrays, store, start))
                self._files[store] = ivf.centroids, file
            numbers = query.float().cpu().numpy()
            found = self._files[store][1].search(numbers, min(CANDIDATES * k, len(memory)), ivf.probes)
            if (found < 0).any():  # there are fewer candidates in the lists
                found = found[:, :k]
            if (found >= 0).all():
                rows = torch.from_numpy(found).to(query.device).sort(-1).values  # so that equal ones have one order
                best = nearest(query.unsqueeze(1), memory[rows], scale[rows], k, None).squeeze(1)
                return rows.gather(-1, best).unsqueeze(0)
        stale = None if start is None else (stamp < start[store]).unsqueeze(0)
        return nearest(query.unsqueeze(0), memory.unsqueeze(0), scale.unsqueeze(0), k, stale)


def _directions(
    arrays: Arrays, store: int, start: Tensor | None, rows: Tensor | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Slots (n,) of a store that hold a word of the present episode, and the directions (n, W) of these words.

    Args:
        arrays: the slots of all stores.
        store: number of the store.
        start: (S,), first stamp of the present episode; None: no slot is stale.
        rows: (m,), the slots to choose from; None: all.
    """
    memory, scale, stamp = (part[store].detach() for part in arrays.tensors[:3])
    if rows is None:
        rows = torch.arange(len(memory), device=memory.device)
    words = memory[rows] * scale[rows].unsqueeze(-1)
    kept = words.any(-1) & words.isfinite().all(-1)
    if start is not None:
        kept &= stamp[rows] >= start[store]
    return rows[kept].cpu().numpy(), words[kept].float().cpu().numpy()
