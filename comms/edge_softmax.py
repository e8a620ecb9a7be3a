"""Softmax over those whom one hears: each receiver's weighted mean, along the edges of a graph.

Sender i's share in what j hears is weight_ij exp(s_ij) / sum_k weight_kj exp(s_kj), s the scores.

Axes: B episode, E expert, K edge, H head, V value, D key.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from comms.edge_layouts import DenseLayout, RegularLayout, SparseLayout
from comms.topology import Edges, is_dense


def edge_attention(
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
    few = SparseLayout if edges.layout_index is None else RegularLayout
    dense = is_dense(values.shape[1], edges.weight.shape[1])
    graph: DenseLayout | RegularLayout | SparseLayout = (DenseLayout if dense else few)(edges, values.shape[1])
    scores = None if queries is None or keys is None else graph.scores(queries, keys)
    if edges.unmodified and edges.log_weight is not None and not isinstance(graph, SparseLayout):
        shares = (edges.log_weight if scores is None else scores + edges.log_weight).softmax(graph.axis)
        return graph.aggregate(shares, values), graph.per_edge_mean(shares)
    weight = graph.edge_weights()
    if scores is None:
        loud = torch.ones_like(weight)
    else:
        peak = graph.max_per_receiver(scores.detach().masked_fill(weight.logical_not(), -torch.inf))
        loud = (scores - peak).clamp(max=0).exp()  # where all are dead, inf becomes 0
    total = graph.sum_per_receiver(loud * weight)
    rate = loud * total.masked_fill(total.logical_not(), 1).reciprocal()
    return graph.aggregate(rate * weight, values), edges.weight * graph.per_edge_mean(rate)
