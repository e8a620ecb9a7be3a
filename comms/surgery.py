"""Changes of who hears whom, also in the middle of an episode: pure functions from Edges to new Edges."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from comms.topology import EdgeList, Edges, Topology, edge_list, make_edges


def mask_absent(edges: Edges, present: Bool[Tensor, "B E"]) -> Edges:
    """Edges with an absent expert at either end die."""
    alive = present.gather(1, edges.senders) & present.gather(1, edges.receivers)
    return edges._replace(weight=edges.weight.masked_fill(~alive, 0))


def lesion(edges: Edges, experts: Sequence[int], *, num_experts: int) -> Edges:
    """`experts`, in all episodes, no longer hear or speak; `num_experts` is the number of all experts.

    Raises IndexError for an expert outside 0 to of-1.
    """
    hit = _expert_mask(edges, experts, num_experts)
    return edges._replace(weight=edges.weight.masked_fill(hit[edges.senders] | hit[edges.receivers], 0))


def silence(edges: Edges, experts: Sequence[int], *, of: int) -> Edges:
    """`experts`, in all episodes, no longer speak but still hear; `of` is the number of all experts.

    Raises IndexError for an expert outside 0 to of-1.
    """
    return edges._replace(weight=edges.weight.masked_fill(_expert_mask(edges, experts, of)[edges.senders], 0))


def connect_new_experts(edges: Edges, topology: Topology, *, before: int, after: int) -> Edges:
    """Newcomers, experts `before` to `after`-1, are connected as in `topology` among `after` experts.

    The old edges stay as they are, first and in their order; edges that touch a newcomer are appended,
    those with absent or lesioned old experts too: apply `mask_absent` or `lesion` again where they must stay so.

    Raises ValueError where `after` < `before`, and as `edge_list` does.
    """
    if after < before:
        raise ValueError(f"after={after}, want at least before={before}: experts leave by mask or lesion")
    rows = edge_list(topology, after)
    new = (rows.senders >= before) | (rows.receivers >= before)
    more = make_edges(EdgeList(*(x[new] for x in rows)), after, edges.weight.shape[0], edges.weight)
    senders, receivers, weight = (torch.cat(pair, dim=1) for pair in zip(edges[:3], more[:3], strict=True))
    return Edges(senders, receivers, weight)


def _expert_mask(edges: Edges, experts: Sequence[int], of: int) -> Bool[Tensor, "E"]:
    chosen = np.zeros(of, dtype=bool)
    for i in experts:
        if not 0 <= i < of:
            raise IndexError(f"expert {i} does not exist, want 0 to {of - 1}")
        chosen[i] = True
    return torch.from_numpy(chosen).to(edges.weight.device)
