"""Three layouts of per-edge scores for `comms.edge_softmax`, with equal results.

- `DenseLayout`: a matrix over all pairs of experts, for dense graphs.
- `RegularLayout`: a table of N neighbors per receiver, for graphs in which all receivers have equally many senders.
- `SparseLayout`: a list of edges, for any graph.

The last two allocate nothing of size E x E. The axis of senders comes before that of receivers: a softmax over a long
inner axis of receivers is much faster than one over many short rows of senders.

Axes: B episode, E expert, K edge, N neighbor, H head, V value, D key, S sender, R receiver.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from comms.topology import Edges

MAX_GATHERED = 2**22
"""Numbers gathered at a time: allocating larger tensors takes longer than computing with them."""


class DenseLayout:
    """Scores of all pairs of experts, (B, H, S, R), for dense graphs.

    Args:
        edges: the communication graph.
        experts: E.
    """

    axis = 2  # of the senders

    def __init__(self, edges: Edges, experts: int) -> None:
        self.edges, self.experts = edges, experts
        self.pair_index = (  # (B, K)
            edges.senders * experts + edges.receivers if edges.layout_index is None else edges.layout_index
        )

    def edge_weights(self) -> Tensor:
        """Weights of the edges in this layout; those of parallel edges are added up."""
        zeros = self.edges.weight.new_zeros(self.pair_index.shape[0], self.experts**2)
        weights = zeros.scatter_add(1, self.pair_index, self.edges.weight)
        return weights.unflatten(1, (1, self.experts, self.experts))

    def scores(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Dot products k_i . q_j of all pairs."""
        return torch.bmm(_by_head(keys), _by_head(queries).mT).unflatten(0, (queries.shape[0], -1))

    def max_per_receiver(self, scores: Tensor) -> Tensor:
        """Highest score of each receiver."""
        return scores.amax(2, keepdim=True)

    def sum_per_receiver(self, x: Tensor) -> Tensor:
        """Sum over the senders of each receiver."""
        return x.sum(2, keepdim=True)

    def aggregate(self, weights: Tensor, values: Tensor) -> Tensor:
        """Weighted sum of the senders' values, (B, E, H V)."""
        weights = weights.expand(-1, values.shape[2], -1, -1).flatten(0, 1)  # (B H, S, R)
        return torch.bmm(_by_head(values).mT, weights).view(values.shape[0], -1, self.experts).mT

    def per_edge_mean(self, weights: Tensor) -> Tensor:
        """Mean over heads for each edge, (B, K)."""
        return _mean(weights, 1).flatten(1).gather(1, self.pair_index)


class RegularLayout:
    """Scores of the edges of a regular graph, (B, N, R, H): reductions run over the short axis of neighbors.

    The first R of the E experts receive.

    Args:
        edges: the communication graph, with `layout_index`.
        experts: E.
    """

    axis = 1  # of the senders

    def __init__(self, edges: Edges, experts: int) -> None:
        assert edges.layout_index is not None
        self.weight, neighbors = edges.weight, edges.layout_index  # (B, N, R)
        offset = torch.arange(0, neighbors.shape[0] * experts, experts, device=neighbors.device).view(-1, 1, 1)
        self.sender_rows = neighbors + offset  # in a list of all episodes' experts
        self.shape = neighbors.shape

    def edge_weights(self) -> Tensor:
        """Weights of the edges in this layout."""
        return self.weight.view(self.shape[0], self.shape[2], -1).mT.unsqueeze(-1)

    def scores(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Dot products k_i . q_j of all edges."""
        return self._in_blocks(keys, lambda sent, block: (sent * queries[:, None, block]).sum(-1))

    def max_per_receiver(self, scores: Tensor) -> Tensor:
        """Highest score of each receiver."""
        return scores.amax(1, keepdim=True)

    def sum_per_receiver(self, x: Tensor) -> Tensor:
        """Sum over the senders of each receiver."""
        return x.sum(1, keepdim=True)

    def aggregate(self, weights: Tensor, values: Tensor) -> Tensor:
        """Weighted sum of the senders' values, (B, E, H V)."""
        return self._in_blocks(values, lambda sent, block: (weights[:, :, block, :, None] * sent).sum(1).flatten(2))

    def per_edge_mean(self, weights: Tensor) -> Tensor:
        """Mean over heads for each edge, (B, K)."""
        return _mean(weights, 3).mT.flatten(1)

    def _in_blocks(self, x: Tensor, reduce: Callable[[Tensor, slice], Tensor]) -> Tensor:
        """Applies `reduce` to the senders' x, (B, N, R, H, V), in blocks of receivers, axis -2 of the result."""
        rows = x.flatten(2).flatten(0, 1).contiguous()  # whole rows are copied many times faster than parts
        batch, neighbors, receivers = self.shape
        size = max(1, MAX_GATHERED // (batch * neighbors * rows.shape[1]))
        parts = []
        for block in (slice(i, min(i + size, receivers)) for i in range(0, receivers, size)):
            sent = rows.index_select(0, self.sender_rows[:, :, block].flatten())
            parts.append(reduce(sent.view(batch, neighbors, -1, *x.shape[2:]), block))
        return parts[0] if len(parts) == 1 else torch.cat(parts, -2)


class SparseLayout:
    """Scores of the edges of any graph, (B K, H).

    Args:
        edges: the communication graph.
        experts: E.
    """

    def __init__(self, edges: Edges, experts: int) -> None:
        self.weight = edges.weight
        batch = self.weight.shape[0]
        offset = torch.arange(0, batch * experts, experts, device=edges.weight.device).unsqueeze(1)
        self.senders = (edges.senders + offset).flatten()  # (B K), in a list of all episodes' experts
        self.receivers = (edges.receivers + offset).flatten()
        self.size = batch * experts

    def edge_weights(self) -> Tensor:
        """Weights of the edges, (B K, 1)."""
        return self.weight.reshape(-1, 1)

    def scores(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Dot products k_i . q_j of all edges."""
        query = queries.flatten(0, 1).index_select(0, self.receivers)  # (B K, H, D)
        return (query * keys.flatten(0, 1).index_select(0, self.senders)).sum(-1)

    def max_per_receiver(self, scores: Tensor) -> Tensor:
        """Highest score of each edge's receiver."""
        lowest = scores.new_full((self.size, scores.shape[1]), -torch.inf)
        index = self.receivers.unsqueeze(1).expand_as(scores)
        return lowest.scatter_reduce(0, index, scores, "amax").index_select(0, self.receivers)

    def sum_per_receiver(self, x: Tensor) -> Tensor:
        """Sum over the senders of each edge's receiver."""
        return self._scatter_sum(x).index_select(0, self.receivers)

    def aggregate(self, weights: Tensor, values: Tensor) -> Tensor:
        """Weighted sum of the senders' values, (B, E, H V)."""
        sent = values.flatten(0, 1).index_select(0, self.senders)  # (B K, H, V)
        return self._scatter_sum(weights.unsqueeze(-1) * sent).view_as(values).flatten(2)

    def per_edge_mean(self, weights: Tensor) -> Tensor:
        """Mean over heads for each edge, (B, K)."""
        return weights.mean(1).view(self.weight.shape)

    def _scatter_sum(self, x: Tensor) -> Tensor:
        return x.new_zeros(self.size, *x.shape[1:]).index_add(0, self.receivers, x)


def _by_head(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(0, 1) if x.shape[2] > 1 else x.squeeze(2)  # (B, E, H, D) -> (B H, E, D)


def _mean(x: Tensor, axis: int) -> Tensor:
    return x.mean(axis) if x.shape[axis] > 1 else x.squeeze(axis)
