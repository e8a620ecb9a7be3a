"""The store of episodic control: for each action a table of keys and values that outlives an episode.

Shapes: N query or write, K number of a key, k neighbor, A action.
"""

from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from badger.learners import host
from badger.learners.episodic_control.hnsw import check_installed
from badger.learners.episodic_control.table import Neighbors, Table, Update


class EpisodicStore(nn.Module):
    """For each action a table of keys and values, written by a learner and read by its agent.

    - `write(key, action, value)`: a key that its action has already updates its row, by `update`, also within one
      write; otherwise it takes a new row, and in a full table that of the least recent use.
    - `query(key, action, k)`: the k nearest rows of an action; all of them where it has fewer.
    - `lookup(key, action)`: the values of exactly these keys.

    A write is a use, and so is `touch`; a query is none, so that acting and evaluating change nothing. The rows are
    buffers: they move with the agent, and `state_dict` has them bit for bit.

    Args:
        actions: A, number of tables.
        key_size: K.
        capacity: rows of each table at most. Rows are allocated as they are needed.
        update: (stored, written) -> value of a repeated key.
        index: exact: brute force; hnsw: approximate neighbors above 50,000 rows, by the optional hnswlib. Its graph is
            built anew when a store is loaded, which may change what is found.

    Raises:
        ValueError: a size below 1, another index, or hnsw without hnswlib.

    Source: Blundell et al. 2016, arXiv:1606.04460; Pritzel et al. 2017, arXiv:1703.01988.
    """

    def __init__(
        self,
        actions: int,
        key_size: int,
        *,
        capacity: int = 100_000,
        update: Update = torch.maximum,
        index: Literal["exact", "hnsw"] = "exact",
    ):
        super().__init__()
        for name, size in {"actions": actions, "key_size": key_size, "capacity": capacity}.items():
            if size < 1:
                raise ValueError(f"{name}={size}, want at least 1")
        if index not in ("exact", "hnsw"):
            raise ValueError(f"index={index!r}, want exact or hnsw")
        if index == "hnsw":
            check_installed()
        self.key_size, self.capacity = key_size, capacity
        tables = [Table(key_size, capacity, update, hnsw=index == "hnsw") for _ in range(actions)]
        self.tables = nn.ModuleList(tables)

    def __len__(self) -> int:
        """Rows of all actions."""
        return sum(self.counts)

    @property
    def counts(self) -> list[int]:
        """Rows of each action."""
        return [table.count for table in self._tables()]

    def _tables(self) -> list[Table]:
        return list(self.tables)  # type: ignore[arg-type]

    def write(
        self,
        key: Float[Tensor, "N K"] | np.ndarray,
        action: Int[Tensor, " N"] | np.ndarray,
        value: Float[Tensor, " N"] | np.ndarray,
        names: np.ndarray | None = None,
    ) -> int:
        """Writes the steps of a trajectory, one after the other; returns how many of them had a row already.

        Args:
            key: the keys; tensors are read on the host.
            action: the actions taken.
            value: their returns.
            names: (N, numbers) what identifies a row, such as the observation where keys change by learning; None: the
                key itself.

        Raises:
            ValueError: keys of another size or of another number than actions and values, keys or values that are not
                finite, or an action that does not exist.
        """
        key, action, value = (host.to_host(x) if isinstance(x, Tensor) else x for x in (key, action, value))
        self._check_size(key.shape)
        if not len(key) == len(action) == len(value):
            raise ValueError(f"{len(key)} keys, {len(action)} actions and {len(value)} values, want as many of each")
        for name, part in {"key": key, "value": value}.items():
            if not np.isfinite(part).all():
                row = int(np.argmin(np.isfinite(part).reshape(len(part), -1).all(1)))
                raise ValueError(f"{name} {row} is {part[row]}, want finite numbers: a NaN is near to nothing")
        wrong = [int(a) for a in action if not 0 <= a < len(self.tables)]
        if wrong:
            raise ValueError(f"action={wrong[0]}, want 0 to {len(self.tables) - 1}")
        key = key + 0.0  # -0 and 0 are the same number, with other bytes
        names = key if names is None else names
        parts = [(table, action == a) for a, table in enumerate(self._tables())]
        return sum(table.write(key[part], value[part], names[part]) for table, part in parts if part.any())

    def query(self, key: Float[Tensor, "N K"], action: int, k: int) -> Neighbors:
        """The k nearest rows of one action, nearest first; all of its rows where it has fewer.

        A key with a NaN has distances of NaN.

        Args:
            key: the queries.
            action: whose table.
            k: number of neighbors.

        Raises:
            ValueError: keys of another size, no such action, or k < 1.
        """
        self._check_size(key.shape)
        if k < 1:
            raise ValueError(f"k={k}, want at least 1 neighbor")
        return self.table(action).query(key, k)

    def lookup(
        self, key: Float[Tensor, "N K"], action: Int[Tensor, " N"]
    ) -> tuple[Float[Tensor, " N"], Bool[Tensor, " N"]]:
        """The stored value of each key and action, and whether there is one; 0 where there is none.

        Args:
            key: the queries.
            action: whose table, for each.

        Raises:
            ValueError: keys of another size.
        """
        self._check_size(key.shape)
        value, found = key.new_zeros(len(key)), torch.zeros(len(key), dtype=torch.bool, device=key.device)
        for a, table in enumerate(self._tables()):
            stored, hit = table.lookup(key)
            hit = hit & (action == a)
            value, found = torch.where(hit, stored, value), found | hit
        return value, found

    def table(self, action: int) -> Table:
        """The rows of one action.

        Args:
            action: its index.

        Raises:
            ValueError: no such action.
        """
        if not 0 <= action < len(self.tables):
            raise ValueError(f"action={action}, want 0 to {len(self.tables) - 1}")
        return self._tables()[action]

    def _check_size(self, shape: tuple[int, ...]) -> None:
        if len(shape) != 2 or shape[1] != self.key_size:
            raise ValueError(f"keys have the shape {tuple(shape)}, want (rows, {self.key_size}), the store's key_size")
