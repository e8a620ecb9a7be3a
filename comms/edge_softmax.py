"""Attention along the edges of a graph: a softmax over each receiver's incoming edges.

The weight of sender i for receiver j is weight_ij exp(s_ij) / sum_k weight_kj exp(s_kj), s the scores.

Axes: B episode, E expert, K edge, H head, V value, D key.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from comms.edge_layouts import DenseLayout, RegularLayout, SparseLayout
from comms.topology import Edges, is_dense, is_unmodified


def edge_attention(
    values: Float[Tensor, "B E H V"],
    edges: Edges,
    queries: Float[Tensor, "B E H D"] | None = None,
    keys: Float[Tensor, "B E H D"] | None = None,
) -> tuple[Float[Tensor, "B E H*V"], Float[Tensor, "B K"]]:
    """Multi-head attention of each expert over its incoming edges.

    A receiver without active edges gets zeros. Parallel edges act as one edge of their summed weight and divide its
    attention weight. The derivative with respect to the weight of an inactive edge is that of opening the edge, so that
    a closed gate receives a gradient; the score of that edge is clamped to the best active one, which bounds it.

    Args:
        values: what is averaged.
        edges: the communication graph.
        queries: of the receivers; without queries and keys all scores are equal.
        keys: of the senders.

    Returns:
        The values received, heads concatenated; the attention weight of each edge, the mean over heads.
    """
    sparse = SparseLayout if edges.layout_index is None else RegularLayout
    dense = is_dense(values.shape[1], edges.weight.shape[1])
    layout: DenseLayout | RegularLayout | SparseLayout = (DenseLayout if dense else sparse)(edges, values.shape[1])
    scores = None if queries is None or keys is None else layout.scores(queries, keys)
    if is_unmodified(edges) and edges.log_weight is not None and not isinstance(layout, SparseLayout):
        weights = (edges.log_weight if scores is None else scores + edges.log_weight).softmax(layout.axis)
        return layout.aggregate(weights, values), layout.per_edge_mean(weights)
    weight = layout.edge_weights()
    if scores is None:
        exp_scores = torch.ones_like(weight)
    else:
        peak = layout.max_per_receiver(scores.detach().masked_fill(weight.logical_not(), -torch.inf))
        excess = scores - peak  # of an inactive edge it may be above 0; where all edges are inactive, inf
        exp_scores = excess.masked_fill(excess > 0, 0).exp()  # clamp's gradient at 0 depends on the version of torch
    total = layout.sum_per_receiver(exp_scores * weight)
    normalized = exp_scores * total.masked_fill(total.logical_not(), 1).reciprocal()
    return layout.aggregate(normalized * weight, values), edges.weight * layout.per_edge_mean(normalized)
