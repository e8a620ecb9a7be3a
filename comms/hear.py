"""Softmax over those whom one hears: each receiver's weighted mean, along the edges of a graph.

Sender i's share in what j hears is weight_ij exp(s_ij) / sum_k weight_kj exp(s_kj), s the scores. `hear` is
this rule; there are four ways to hold the scores, with equal results: of all pairs or of edges alone, and simpler ones
where everyone hears equally many (comms/regular.py).

Axes: B episode, E expert, K edge, H head, V value, D key.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from comms.regular import hear_all, hear_near
from comms.topology import Edges, is_dense


def hear(
    values: Float[Tensor, "B E H V"],
    edges: Edges,
    queries: Float[Tensor, "B E H D"] | None = None,
    keys: Float[Tensor, "B E H D"] | None = None,
) -> tuple[Float[Tensor, "B E H*V"], Float[Tensor, "B K"]]:
    """What each expert hears, heads side by side, and each edge's share in it, the mean over heads.

    Without queries and keys all scores are equal. Who hears nobody gets zeros. Parallel edges act as one
    edge of their summed weight and divide its share. The derivative with respect to a dead edge's weight
    says what opening it would do (a shut gate learns from it); it takes the edge's score as at most the
    best live one, and so stays bounded.
    """
    dense = is_dense(values.shape[1], edges.weight.shape[1])
    if edges.table is not None:
        inbox, weights = (hear_all if dense else hear_near)(values, edges, edges.table, queries, keys)
    else:
        inbox, weights = _hear_any((Pairs if dense else Links)(edges, values.shape[1]), values, edges, queries, keys)
    return inbox.flatten(2), weights


def _hear_any(
    graph: "Pairs | Links", values: Tensor, edges: Edges, queries: Tensor | None, keys: Tensor | None
) -> tuple[Float[Tensor, "B E H V"], Float[Tensor, "B K"]]:
    """Any graph: loops, parallel edges, edges in any order."""
    if queries is None or keys is None:
        loud = torch.ones_like(graph.weight)
    else:
        scores = graph.match(queries, keys)
        peak = graph.peak(scores.detach().masked_fill(graph.weight.logical_not(), -torch.inf))
        loud = (scores - peak).clamp(max=0).exp()  # where all are dead, inf becomes 0
    total = graph.total(loud * graph.weight)
    rate = loud * total.masked_fill(total.logical_not(), 1).reciprocal()
    return graph.carry(rate * graph.weight, values), edges.weight * graph.along(rate)


class Pairs:
    """Scores of all pairs (B, H, receiver, sender), for graphs with a fair part of them as edges."""

    def __init__(self, edges: Edges, experts: int) -> None:
        self.pair = edges.receivers * experts + edges.senders  # (B, K)
        empty = edges.weight.new_zeros(edges.weight.shape[0], experts**2)
        self.weight = empty.scatter_add(1, self.pair, edges.weight).unflatten(1, (1, experts, experts))

    def match(self, queries: Tensor, keys: Tensor) -> Tensor:
        """q_j . k_i for each pair."""
        return queries.transpose(1, 2) @ keys.permute(0, 2, 3, 1)  # (B, H, E, E)

    def peak(self, scores: Tensor) -> Tensor:
        """Each receiver's highest score."""
        return scores.amax(-1, keepdim=True)

    def total(self, heard: Tensor) -> Tensor:
        """The sum over all that a receiver hears."""
        return heard.sum(-1, keepdim=True)

    def carry(self, shares: Tensor, values: Tensor) -> Tensor:
        """The sum of values by shares, (B, E, H, V)."""
        return (shares @ values.transpose(1, 2)).transpose(1, 2)

    def along(self, rates: Tensor) -> Tensor:
        """The mean over heads, at each edge, (B, K)."""
        return (rates.mean(1) if rates.shape[1] > 1 else rates).flatten(1).gather(1, self.pair)


class Links:
    """Scores of edges alone (B K, H), for sparse graphs: nothing has the size of experts times experts."""

    def __init__(self, edges: Edges, experts: int) -> None:
        self.shape = edges.weight.shape
        batch = self.shape[0]
        first = torch.arange(0, batch * experts, experts, device=edges.weight.device).unsqueeze(1)
        self.senders = (edges.senders + first).flatten()  # (B K), in a list of all episodes' experts
        self.receivers = (edges.receivers + first).flatten()
        self.weight = edges.weight.reshape(-1, 1)  # (B K, 1)
        self.size = batch * experts

    def match(self, queries: Tensor, keys: Tensor) -> Tensor:
        """q_j . k_i for each edge."""
        heard = queries.flatten(0, 1).index_select(0, self.receivers)  # (B K, H, D)
        return (heard * keys.flatten(0, 1).index_select(0, self.senders)).sum(-1)

    def peak(self, scores: Tensor) -> Tensor:
        """The highest score at each edge's receiver."""
        lowest = scores.new_full((self.size, scores.shape[1]), -torch.inf)
        at = self.receivers.unsqueeze(1).expand_as(scores)
        return lowest.scatter_reduce(0, at, scores, "amax").index_select(0, self.receivers)

    def total(self, heard: Tensor) -> Tensor:
        """The sum over all that each edge's receiver hears."""
        return self._gather(heard).index_select(0, self.receivers)

    def carry(self, shares: Tensor, values: Tensor) -> Tensor:
        """The sum of values by shares, (B, E, H, V)."""
        said = values.flatten(0, 1).index_select(0, self.senders)  # (B K, H, V)
        return self._gather(shares.unsqueeze(-1) * said).view_as(values)

    def along(self, rates: Tensor) -> Tensor:
        """The mean over heads, at each edge, (B, K)."""
        return rates.mean(1).view(self.shape)

    def _gather(self, x: Tensor) -> Tensor:
        return x.new_zeros(self.size, *x.shape[1:]).index_add(0, self.receivers, x)
