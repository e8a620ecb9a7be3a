"""Contract of topologies: `check_topology` and `TOPOLOGY_PROPERTIES`."""

from collections.abc import Callable, Collection
from typing import TypeAlias

import networkx as nx
import numpy as np
import torch

from badger.testing.contract import Properties, by_name, check_all, equal, expect, line
from comms import EdgeList, connect_new_experts, edge_list, make_edges

Make: TypeAlias = Callable[[int], nx.Graph | EdgeList]
SIZES = (*range(1, 13), 64)


def check_topology(factory: Make, *, properties: Collection[str] | None = None) -> None:
    """Checks a topology against the contract: valid edges for any number of experts.

    Args:
        factory: int -> networkx graph or EdgeList, as in `comms.TOPOLOGIES`.
        properties: names out of `TOPOLOGY_PROPERTIES`; None: all.

    Raises:
        ContractError: the first property that does not hold, with the wanted and the actual value.
        ValueError: a name that is no property.
    """
    check_all(TOPOLOGY_PROPERTIES, factory, properties)


@line
def any_number_of_experts_has_valid_edges(make: Make) -> None:
    for experts in SIZES:
        rows = edge_list(make, experts)
        ends = np.concatenate([rows.senders, rows.receivers])
        expect(not ends.size or 0 <= ends.min() <= ends.max() < experts, f"experts 0 to {experts - 1}", set(ends))


@line
def weights_are_finite_and_nonnegative(make: Make) -> None:
    for experts in SIZES:
        weight = edge_list(make, experts).weight
        expect((np.isfinite(weight) & (weight >= 0)).all(), "finite weights of at least 0", weight)


@line
def a_topology_is_deterministic(make: Make) -> None:
    """A random topology takes a seed: all episodes and processes use the same graph."""
    for experts in SIZES:
        for name, a, b in zip(EdgeList._fields, edge_list(make, experts), edge_list(make, experts), strict=True):
            expect(np.array_equal(a, b), f"the same {name} for {experts} experts at each call", f"{a} and {b}")


@line
def edges_have_the_requested_device_and_dtype(make: Make) -> None:
    for like in (torch.zeros((), dtype=torch.float64), torch.zeros((), device="meta")):
        edges = make_edges(make, 5, 2, like)
        equal((edges.weight.dtype, edges.weight.device), (like.dtype, like.device), "weights of (dtype, device)")
        equal({x.shape for x in edges[:3]}, {(2, edges.weight.shape[1])}, "senders, receivers and weight of shape")


@line
def new_experts_keep_the_existing_edges(make: Make) -> None:
    before = make_edges(make, 4, 2, torch.zeros((), dtype=torch.float64))
    after = connect_new_experts(before, make, old_size=4, new_size=7)
    count = before.weight.shape[1]
    for name, new, old in zip(EdgeList._fields, after[:3], before[:3], strict=True):
        expect(torch.equal(new[:, :count], old), f"unchanged {name} of the old edges", new[:, :count].tolist())
    touching = torch.maximum(after.senders, after.receivers)[:, count:]
    expect((touching >= 4).all(), "new edges that touch a new expert", touching.tolist())


TOPOLOGY_PROPERTIES: Properties = by_name(
    any_number_of_experts_has_valid_edges,
    weights_are_finite_and_nonnegative,
    a_topology_is_deterministic,
    edges_have_the_requested_device_and_dtype,
    new_experts_keep_the_existing_edges,
)
"""Properties of a topology, by name."""
