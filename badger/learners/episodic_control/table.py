"""The rows of one action in an episodic store.

Shapes: N query or write, R allocated row, K number of a key, k neighbor.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from badger.learners import host
from badger.learners.episodic_control.hnsw import HNSWIndex
from badger.learners.episodic_control.nearest import nearest_rows, squared_distances

Update = Callable[[Tensor, Tensor], Tensor]
"""(stored values, written values) -> new values, elementwise: `torch.maximum`, or a `MovingAverage`."""
DIGEST = 16  # bytes: two different keys have one digest with a probability of 2^-128
SAVED = ("keys", "values", "used", "digests")
HNSW_ROWS = 50_000
"""Rows up to which neighbors are searched by brute force, also where an approximate index was asked for."""


@dataclass(frozen=True)
class MovingAverage:
    """Moves a stored value towards the one that is written: v + rate (written - v).

    Args:
        rate: from 0 to 1.
    """

    rate: float

    def __call__(self, stored: Tensor, written: Tensor) -> Tensor:
        return stored + self.rate * (written - stored)


class Neighbors(NamedTuple):
    """The nearest rows of each query, nearest first; fewer than were asked for where the table has fewer rows.

    Args:
        values: stored values.
        squared_distances: of their keys from the query.
        rows: their indices in the table.
    """

    values: Float[Tensor, "N k"]
    squared_distances: Float[Tensor, "N k"]
    rows: Int[Tensor, "N k"]


class Table(nn.Module):
    """Keys and values of one action; the row that was used least recently is overwritten when it is full.

    Rows lie on the device of the module, and grow by doubling. Which row a key has is known on the host, by a hash of
    the key's bytes, so a repeated key is found exactly and in constant time.

    Args:
        key_size: K.
        capacity: rows at most.
        update: what a repeated key does to its value.
        hnsw: search by `HNSWIndex` above `HNSW_ROWS` rows.
    """

    keys: Float[Tensor, "R K"]
    values: Float[Tensor, " R"]
    used: Int[Tensor, " R"]
    digests: Tensor

    def __init__(self, key_size: int, capacity: int, update: Update, *, hnsw: bool = False):
        super().__init__()
        self.key_size, self.capacity, self.update, self.hnsw = key_size, capacity, update, hnsw
        self.register_buffer("keys", torch.empty(0, key_size))
        self.register_buffer("values", torch.empty(0))
        self.register_buffer("used", torch.empty(0, dtype=torch.long))  # time of the last use, 1 or later
        self.register_buffer("digests", torch.empty(0, DIGEST, dtype=torch.uint8))
        self._forget()

    def _forget(self) -> None:
        """What follows from the rows and is not saved: without any row."""
        self.count = self.clock = 0
        self.row_of: dict[bytes, int] = {}
        self.names: list[bytes] = []  # digest of each row
        self.index: HNSWIndex | None = None
        self.norms: Tensor | None = None  # squared, of the keys
        self.hashes: tuple[Tensor, Tensor] | None = None  # of the keys, sorted, and their rows

    def write(self, keys: np.ndarray, values: np.ndarray, names: np.ndarray) -> int:
        """Writes rows one after the other; returns how many of them were repeats.

        Args:
            keys: (N, K).
            values: (N,).
            names: (N, bytes or numbers) what identifies each row; equal names share a row, which has the last key.
        """
        digests = [hashlib.blake2b(name.tobytes(), digest_size=DIGEST).digest() for name in names]
        used = np.zeros(self.capacity, dtype=np.int64)
        if self.count + len(keys) > self.capacity:  # else no row is overwritten
            used[: len(self.used)] = host.to_host(self.used)
        writes: dict[int, list[tuple[int, bool]]] = {}  # by row: (index of the write, whether the row is new)
        for i, digest in enumerate(digests):
            row, is_new = self.row_of.get(digest), False
            if row is None:
                row, is_new = self._free_row(used), True
                self.row_of[digest], self.names[row] = row, digest
            self.clock += 1
            used[row] = self.clock
            writes.setdefault(row, []).append((i, is_new))
        stamps = {row: self.clock - len(keys) + 1 + made[-1][0] for row, made in writes.items()}
        self._allocate()
        for turn in range(max(map(len, writes.values()), default=0)):  # all first writes, then all second ones
            now = {row: made[turn] for row, made in writes.items() if len(made) > turn}
            index, new = (np.array(part) for part in zip(*now.values(), strict=True))
            self._set_rows(list(now), keys[index], values[index], new)
        self._stamp(stamps)
        self.norms = self.hashes = None
        if self.index is not None:
            last = [made[-1][0] for made in writes.values()]
            self.index.set(np.array(list(writes)), keys[last])
        return sum(not is_new for made in writes.values() for _, is_new in made)

    def _free_row(self, used: np.ndarray) -> int:
        """A row that was never used, or that of the least recent use, whose key is forgotten."""
        if self.count < self.capacity:
            self.count += 1
            self.names.append(b"")
            return self.count - 1
        row = int(used.argmin())
        del self.row_of[self.names[row]]
        return row

    def _allocate(self) -> None:
        """Doubles the allocated rows until there are enough."""
        size = max(len(self.values), 1)
        while size < self.count:
            size *= 2
        self._resize(min(size, self.capacity))

    def _resize(self, size: int) -> None:
        for name in SAVED:
            old = getattr(self, name)
            if len(old) < size:
                setattr(self, name, torch.cat([old, old.new_zeros(size - len(old), *old.shape[1:])]))

    def _set_rows(self, rows: list[int], keys: np.ndarray, values: np.ndarray, is_new: np.ndarray) -> None:
        index = torch.tensor(rows, device=self.values.device)
        written = torch.as_tensor(values).to(self.values)
        new = torch.as_tensor(is_new, device=self.values.device)
        self.values[index] = torch.where(new, written, self.update(self.values[index], written))
        self.keys[index] = torch.as_tensor(keys).to(self.keys)

    def _stamp(self, stamps: dict[int, int]) -> None:
        if stamps:
            rows = torch.tensor(list(stamps), device=self.used.device)
            self.used[rows] = torch.tensor(list(stamps.values()), device=self.used.device)
            digests = np.stack([np.frombuffer(self.names[row], dtype=np.uint8) for row in stamps])
            self.digests[rows] = torch.from_numpy(digests).to(self.digests.device)

    def touch(self, rows: Int[Tensor, "*N"]) -> None:
        """Marks rows as used now.

        Args:
            rows: their indices; a row may occur several times.
        """
        self.clock += 1
        self.used[rows] = self.clock

    def nudge(self, rows: Int[Tensor, "*N"], keys: Float[Tensor, "*N K"], values: Float[Tensor, "*N"]) -> None:
        """Adds to stored keys and values, as a step of gradient descent does.

        Args:
            rows: their indices; a row that occurs several times gets the sum.
            keys: what is added to each key.
            values: what is added to each value.
        """
        flat = rows.flatten()
        self.keys.index_add_(0, flat, keys.reshape(-1, self.key_size).to(self.keys))
        self.values.index_add_(0, flat, values.flatten().to(self.values))
        self.norms = self.hashes = None
        if self.index is not None:
            changed = np.unique(host.to_host(flat))
            self.index.set(changed, host.to_host(self.keys[torch.as_tensor(changed, device=flat.device)]))

    def query(self, key: Float[Tensor, "N K"], k: int) -> Neighbors:
        """The nearest rows. No gradient reaches them: see `badger.learners.episodic_control.nec`.

        Args:
            key: the queries.
            k: number of neighbors; all rows where there are fewer.
        """
        k = min(k, self.count)
        with torch.no_grad():
            rows = self._search(key.detach(), k)
            return Neighbors(self.values[rows], squared_distances(key.detach(), self.keys[rows]), rows)

    def _search(self, key: Tensor, k: int) -> Tensor:
        if not k:
            return torch.empty(len(key), 0, dtype=torch.long, device=key.device)
        if self.hnsw and self.count > HNSW_ROWS:
            if self.index is None:
                self.index = HNSWIndex(self.key_size, self.capacity)
                self.index.set(np.arange(self.count), host.to_host(self.keys[: self.count]))
            rows = torch.as_tensor(self.index.search(host.to_host(key), k), device=key.device)
            order = squared_distances(key, self.keys[rows]).sort(dim=-1, stable=True).indices
            return rows.gather(-1, order)
        if self.norms is None:
            self.norms = self.keys[: self.count].square().sum(-1)
        return nearest_rows(key, self.keys[: self.count], self.norms, k)

    def lookup(self, key: Float[Tensor, "N K"]) -> tuple[Float[Tensor, " N"], Bool[Tensor, " N"]]:
        """The value of each key, and whether it is stored; 0 of those that are not. It does not wait for the device.

        Args:
            key: the queries.
        """
        if not self.count:
            return key.new_zeros(len(key)), torch.zeros(len(key), dtype=torch.bool, device=key.device)
        if self.hashes is None:
            self.hashes = torch.sort(key_hash(self.keys[: self.count]), stable=True)
        hashes, rows = self.hashes
        place = torch.searchsorted(hashes, key_hash(key)).clamp(max=self.count - 1)
        row = rows[place]
        found = (self.keys[row] == key).all(-1)
        return torch.where(found, self.values[row], 0), found

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        for name in SAVED:
            destination[prefix + name] = destination[prefix + name][: self.count].clone()

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        saved = state_dict.get(prefix + "values")
        if saved is not None:
            if len(saved) > self.capacity:
                raise ValueError(f"capacity={self.capacity}, and {len(saved)} rows were saved: load them with that")
            for name in SAVED:
                old = getattr(self, name)
                setattr(self, name, old.new_zeros(len(saved), *old.shape[1:]))
        super()._load_from_state_dict(state_dict, prefix, *rest)
        self._forget()
        self.count = len(self.values)
        if self.count:
            self.clock = int(host.to_host(self.used).max())
            self.names = [row.tobytes() for row in host.to_host(self.digests)]
            self.row_of = {name: row for row, name in enumerate(self.names)}


def key_hash(keys: Float[Tensor, "N K"]) -> Int[Tensor, " N"]:
    """A 64-bit hash of each key's bits; 0 and -0 are alike.

    Args:
        keys: in float32 or float64.
    """
    bits = (keys + 0.0).contiguous().view(torch.int32 if keys.dtype == torch.float32 else torch.int64).long()
    weights = torch.arange(1, keys.shape[-1] + 1, device=keys.device) * 0x1E3779B97F4A7C15 | 1  # wraps around
    mixed = (bits ^ (bits >> 29)) * weights
    return ((mixed ^ (mixed >> 32)) * 0x3F58476D1CE4E5B9).sum(-1)
