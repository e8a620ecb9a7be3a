"""The part of an agent that one process holds: its experts, the edges to them, and what it sends and receives.

Axes: E expert, N own expert, S expert whose output is here, K edge, C output sent to another process.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from comms.generators import EdgeList
from comms.sharding.draws import Rows


def _whole(x: Tensor) -> Tensor:
    return x


@dataclass(frozen=True)
class Shard:
    """The experts of one process, among those of an agent that is spread over several.

    The first N of S experts are its own; the others are heard over an edge that crosses, by process and index.

    Args:
        size: N.
        experts: which experts these S are, of E.
        edges: which edges end at its own experts, of all of a topology that is the same in each episode; else None.
        graphs: those edges in each graph of the topology: senders are numbered 0 to S - 1, receivers 0 to N - 1.
        outgoing: the largest weight of each expert's outgoing edges, to any process, in the first graph.
        send: its own experts whose outputs are sent, by process and index.
        send_counts: how many of them to each process.
        receive_counts: how many outputs come from each process.
        num_crossing: the number of edges between processes, over all of them.
        sum: the sum of a tensor over the processes, with its gradient.
        max: the maximum of a tensor over the processes, without gradient.
        gather: tensors of all processes side by side on the last axis, without gradient.
    """

    size: int
    experts: Rows
    edges: Rows | None
    graphs: tuple[EdgeList, ...]
    outgoing: Float[Tensor, " S"]
    send: Int[Tensor, " C"]
    send_counts: list[int]
    receive_counts: list[int]
    num_crossing: int
    sum: Callable[[Tensor], Tensor] = field(default_factory=lambda: _whole)
    max: Callable[[Tensor], Tensor] = field(default_factory=lambda: _whole)
    gather: Callable[[Tensor], Tensor] = field(default_factory=lambda: _whole)

    @property
    def own(self) -> Rows:
        """Which experts are its own, of E."""
        return self.experts._replace(chosen=self.experts.chosen[: self.size])


def make_shard(
    graphs: Sequence[EdgeList], process: Int[np.ndarray, "E"], rank: int, device: torch.device | str = "cpu"
) -> Shard:
    """The part of one process.

    Args:
        graphs: of a topology that is drawn for each episode, or one; what is sent serves all of them.
        process: of each expert, from 0.
        rank: of this process.
        device: of index tensors.
    """
    experts, processes = len(process), int(process.max()) + 1
    mine = [np.flatnonzero(process[rows.receivers] == rank) for rows in graphs]
    own = np.flatnonzero(process == rank)
    crossing = [np.concatenate(part) for part in zip(*(_crossing(rows, process) for rows in graphs), strict=True)]
    senders, to = crossing
    heard = np.unique(process[senders[to == rank]] * experts + senders[to == rank])  # by process, then by index
    here = process[senders] == rank
    sent = np.unique(to[here] * experts + senders[here])
    index = np.concatenate([own, heard % experts])
    local = np.full(experts, -1)
    local[index] = np.arange(len(index))
    parts, order = zip(*(_local(rows, edges, local) for rows, edges in zip(graphs, mine, strict=True)), strict=True)
    outgoing = np.zeros(experts)
    np.maximum.at(outgoing, graphs[0].senders, graphs[0].weight)

    def rows_of(total: int, chosen: np.ndarray) -> Rows:
        return Rows(total, torch.tensor(chosen, device=device))

    return Shard(
        size=len(own),
        experts=rows_of(experts, index),
        edges=rows_of(len(graphs[0].senders), order[0]) if len(graphs) == 1 else None,
        graphs=parts,
        outgoing=torch.tensor(outgoing[index], device=device),
        send=torch.tensor(local[sent % experts], device=device),
        send_counts=np.bincount(sent // experts, minlength=processes).tolist(),
        receive_counts=np.bincount(heard // experts, minlength=processes).tolist(),
        num_crossing=len(senders),
    )


def _crossing(rows: EdgeList, process: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sender and receiving process of each edge that crosses."""
    crosses = process[rows.senders] != process[rows.receivers]
    return rows.senders[crosses], process[rows.receivers[crosses]]


def _local(rows: EdgeList, edges: np.ndarray, local: np.ndarray) -> tuple[EdgeList, np.ndarray]:
    """The chosen edges among the experts that are here, sorted by receiver, then by sender; and which they are."""
    senders, receivers = local[rows.senders[edges]], local[rows.receivers[edges]]
    order = np.lexsort((senders, receivers))
    return EdgeList(senders[order], receivers[order], rows.weight[edges][order]), edges[order]
