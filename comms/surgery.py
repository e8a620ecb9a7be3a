"""Interventions on the communication graph, also in mid-episode: pure functions from `Edges` to `Edges`."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from comms.topology import EdgeList, Edges, Topology, edge_list, make_edges


def mask_absent(edges: Edges, present: Bool[Tensor, "B E"]) -> Edges:
    """Deactivates all edges from or to absent experts.

    Args:
        edges: the communication graph.
        present: mask of the experts that are present.
    """
    active = present.gather(1, edges.senders) & present.gather(1, edges.receivers)
    return edges._replace(weight=edges.weight.masked_fill(~active, 0))


def lesion(edges: Edges, experts: Sequence[int], *, num_experts: int) -> Edges:
    """Deactivates all edges from or to the given experts, in all episodes.

    Args:
        edges: the communication graph.
        experts: indices of the lesioned experts.
        num_experts: E, the number of all experts.

    Raises:
        IndexError: an index outside 0 to num_experts - 1.
    """
    mask = _expert_mask(edges, experts, num_experts)
    return edges._replace(weight=edges.weight.masked_fill(mask[edges.senders] | mask[edges.receivers], 0))


def silence(edges: Edges, experts: Sequence[int], *, num_experts: int) -> Edges:
    """Deactivates the outgoing edges of the given experts, in all episodes; they still receive messages.

    Args:
        edges: the communication graph.
        experts: indices of the silenced experts.
        num_experts: E, the number of all experts.

    Raises:
        IndexError: an index outside 0 to num_experts - 1.
    """
    mask = _expert_mask(edges, experts, num_experts)
    return edges._replace(weight=edges.weight.masked_fill(mask[edges.senders], 0))


def connect_new_experts(edges: Edges, topology: Topology, *, old_size: int, new_size: int) -> Edges:
    """Adds the edges of new experts, old_size to new_size - 1, as in the topology among all experts.

    The existing edges keep their weights and come first. Every edge that touches a new expert is appended, also one to
    an absent or lesioned expert: apply `mask_absent` or `lesion` again where those must stay inactive.

    Args:
        edges: the communication graph among the old experts.
        topology: as in `edge_list`.
        old_size: number of experts before.
        new_size: number of experts after.

    Raises:
        ValueError: new_size < old_size; and as `edge_list` does.
    """
    if new_size < old_size:
        raise ValueError(
            f"new_size={new_size}, want at least old_size={old_size}: remove experts by a mask or a lesion"
        )
    rows = edge_list(topology, new_size)
    is_new = (rows.senders >= old_size) | (rows.receivers >= old_size)
    added = make_edges(EdgeList(*(x[is_new] for x in rows)), new_size, edges.weight.shape[0], edges.weight)
    senders, receivers, weight = (torch.cat(pair, dim=1) for pair in zip(edges[:3], added[:3], strict=True))
    return Edges(senders, receivers, weight)


def _expert_mask(edges: Edges, experts: Sequence[int], num_experts: int) -> Bool[Tensor, "E"]:
    mask = np.zeros(num_experts, dtype=bool)
    for i in experts:
        if not 0 <= i < num_experts:
            raise IndexError(f"expert {i} does not exist, want 0 to {num_experts - 1}")
        mask[i] = True
    return torch.from_numpy(mask).to(edges.weight.device)
