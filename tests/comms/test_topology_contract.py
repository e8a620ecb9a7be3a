"""Every topology by name keeps the contract, and the contract catches broken topologies."""

import networkx as nx
import numpy as np
import pytest

from badger.testing import TOPOLOGY_PROPERTIES, ContractError, check_topology
from comms import TOPOLOGIES, EdgeList


@pytest.mark.parametrize("name", TOPOLOGIES)
@pytest.mark.parametrize("holds", TOPOLOGY_PROPERTIES)
def test_every_topology_keeps_the_contract(name, holds):
    TOPOLOGY_PROPERTIES[holds](TOPOLOGIES[name])


def one_edge(sender: int, receiver: int, weight: float = 1.0):
    return lambda experts: EdgeList(np.array([sender]), np.array([receiver]), np.array([weight]))


DRAWS = np.random.default_rng(0)
BROKEN = {
    "any_number_of_experts_has_valid_edges": lambda experts: nx.path_graph(8),
    "weights_are_finite_and_nonnegative": one_edge(0, 0, float("nan")),
    "a_topology_is_deterministic": lambda experts: nx.gnp_random_graph(experts, 0.5, seed=int(DRAWS.integers(99))),
    "edges_have_the_requested_device_and_dtype": one_edge(0, 7),
    "new_experts_keep_the_existing_edges": one_edge(0, -1),
}


@pytest.mark.parametrize("holds", TOPOLOGY_PROPERTIES)
def test_the_contract_catches_a_broken_topology(holds):
    with pytest.raises(ContractError, match=rf"(?s)^{holds}: want .*, got "):
        TOPOLOGY_PROPERTIES[holds](BROKEN[holds])


def test_the_contract_lets_a_graph_of_networkx_pass():
    check_topology(lambda experts: nx.path_graph(experts, create_using=nx.DiGraph))
