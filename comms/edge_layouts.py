"""Three ways to hold the scores of who hears whom, with equal results.

Of all `DenseLayout`; of `RegularLayout`, where everyone hears equally few; of any `SparseLayout`. The last two have nothing of the
size of experts times experts. Senders stand before receivers: a softmax along many receivers at once is much quicker
than many along a few senders each.

Axes: B episode, E expert, K edge, N neighbour, H head, V value, D key, S sender, R receiver.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from comms.topology import Edges

MAX_GATHERED = 2**22  # numbers gathered at a time: fresh pages for larger tensors cost more than the work on them


class DenseLayout:
    """Scores of all pairs (B, H, S, R), for graphs with a fair part of them as edges."""

    axis = 2  # of the senders

    def __init__(self, edges: Edges, experts: int) -> None:
        self.edges, self.experts = edges, experts
        self.pair = (
            edges.senders * experts + edges.receivers if edges.layout_index is None else edges.layout_index
        )  # (B, K)

    def edge_weights(self) -> Tensor:
        """The edges' weights in the table, parallel ones added up."""
        empty = self.edges.weight.new_zeros(self.pair.shape[0], self.experts**2)
        return empty.scatter_add(1, self.pair, self.edges.weight).unflatten(1, (1, self.experts, self.experts))

    def scores(self, queries: Tensor, keys: Tensor) -> Tensor:
        """k_i . q_j for each pair."""
        return torch.bmm(_by_head(keys), _by_head(queries).mT).unflatten(0, (queries.shape[0], -1))

    def max_per_receiver(self, scores: Tensor) -> Tensor:
        """Each receiver's highest score."""
        return scores.amax(2, keepdim=True)

    def sum_per_receiver(self, heard: Tensor) -> Tensor:
        """The sum over all that a receiver hears."""
        return heard.sum(2, keepdim=True)

    def aggregate(self, shares: Tensor, values: Tensor) -> Tensor:
        """The sum of values by shares, (B, E, H V)."""
        shares = shares.expand(-1, values.shape[2], -1, -1).flatten(0, 1)  # (B H, S, R)
        return torch.bmm(_by_head(values).mT, shares).view(values.shape[0], -1, self.experts).mT

    def per_edge_mean(self, rates: Tensor) -> Tensor:
        """The mean over heads, at each edge, (B, K)."""
        return _mean(rates, 1).flatten(1).gather(1, self.pair)


class RegularLayout:
    """Scores of edges alone, (B, N, R, H), where everyone hears equally many: sums run over a short axis."""

    axis = 1  # of the senders

    def __init__(self, edges: Edges, experts: int) -> None:
        assert edges.layout_index is not None
        self.weight, near = edges.weight, edges.layout_index  # (B, N, R)
        first = torch.arange(0, near.shape[0] * experts, experts, device=near.device).view(-1, 1, 1)
        self.rows = near + first  # in a list of all episodes' experts
        self.shape = near.shape

    def edge_weights(self) -> Tensor:
        """The edges' weights in the table."""
        return self.weight.view(self.shape[0], self.shape[2], -1).mT.unsqueeze(-1)

    def scores(self, queries: Tensor, keys: Tensor) -> Tensor:
        """k_i . q_j for each edge."""
        return self._in_blocks(keys, lambda near, block: (near * queries[:, None, block]).sum(-1))

    def max_per_receiver(self, scores: Tensor) -> Tensor:
        """Each receiver's highest score."""
        return scores.amax(1, keepdim=True)

    def sum_per_receiver(self, heard: Tensor) -> Tensor:
        """The sum over all that a receiver hears."""
        return heard.sum(1, keepdim=True)

    def aggregate(self, shares: Tensor, values: Tensor) -> Tensor:
        """The sum of values by shares, (B, E, H V)."""
        return self._in_blocks(values, lambda near, block: (shares[:, :, block, :, None] * near).sum(1).flatten(2))

    def per_edge_mean(self, rates: Tensor) -> Tensor:
        """The mean over heads, at each edge, (B, K)."""
        return _mean(rates, 3).mT.flatten(1)

    def _in_blocks(self, x: Tensor, reduce: Callable[[Tensor, slice], Tensor]) -> Tensor:
        """`reduce` of what is near, (B, N, R, H, V), in blocks of receivers, the last axis but one of what it gives."""
        listed = x.flatten(2).flatten(0, 1).contiguous()  # whole rows are copied many times faster than parts
        batch, count, receivers = self.shape
        size = max(1, MAX_GATHERED // (batch * count * listed.shape[1]))
        parts = []
        for block in (slice(i, i + size) for i in range(0, receivers, size)):
            near = listed.index_select(0, self.rows[:, :, block].flatten())
            parts.append(reduce(near.view(batch, count, -1, *x.shape[2:]), block))
        return parts[0] if len(parts) == 1 else torch.cat(parts, -2)


class SparseLayout:
    """Scores of edges alone (B K, H), of any graph."""

    def __init__(self, edges: Edges, experts: int) -> None:
        self.weight = edges.weight
        batch = self.weight.shape[0]
        first = torch.arange(0, batch * experts, experts, device=edges.weight.device).unsqueeze(1)
        self.senders = (edges.senders + first).flatten()  # (B K), in a list of all episodes' experts
        self.receivers = (edges.receivers + first).flatten()
        self.size = batch * experts

    def edge_weights(self) -> Tensor:
        """The edges' weights, (B K, 1)."""
        return self.weight.reshape(-1, 1)

    def scores(self, queries: Tensor, keys: Tensor) -> Tensor:
        """k_i . q_j for each edge."""
        heard = queries.flatten(0, 1).index_select(0, self.receivers)  # (B K, H, D)
        return (heard * keys.flatten(0, 1).index_select(0, self.senders)).sum(-1)

    def max_per_receiver(self, scores: Tensor) -> Tensor:
        """The highest score at each edge's receiver."""
        lowest = scores.new_full((self.size, scores.shape[1]), -torch.inf)
        at = self.receivers.unsqueeze(1).expand_as(scores)
        return lowest.scatter_reduce(0, at, scores, "amax").index_select(0, self.receivers)

    def sum_per_receiver(self, heard: Tensor) -> Tensor:
        """The sum over all that each edge's receiver hears."""
        return self._gather(heard).index_select(0, self.receivers)

    def aggregate(self, shares: Tensor, values: Tensor) -> Tensor:
        """The sum of values by shares, (B, E, H V)."""
        said = values.flatten(0, 1).index_select(0, self.senders)  # (B K, H, V)
        return self._gather(shares.unsqueeze(-1) * said).view_as(values).flatten(2)

    def per_edge_mean(self, rates: Tensor) -> Tensor:
        """The mean over heads, at each edge, (B, K)."""
        return rates.mean(1).view(self.weight.shape)

    def _gather(self, x: Tensor) -> Tensor:
        return x.new_zeros(self.size, *x.shape[1:]).index_add(0, self.receivers, x)


def _by_head(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(0, 1) if x.shape[2] > 1 else x.squeeze(2)  # (B, E, H, D) -> (B H, E, D)


def _mean(x: Tensor, heads: int) -> Tensor:
    return x.mean(heads) if x.shape[heads] > 1 else x.squeeze(heads)
