"""Random graphs for each episode: drawn by index, padded to one number of edges, replaced row by row."""

from functools import partial

import pytest
import torch

from comms import PerEpisode, edge_list, make_edges, select_graphs, silence, where_edges
from comms.generators import random_regular, small_world
from comms.topology import is_unmodified

E, LIKE = 12, torch.zeros(0, dtype=torch.float64)


def pairs(edges, row):
    """The active edges of a row."""
    active = edges.weight[row] > 0
    return sorted(zip(edges.senders[row, active].tolist(), edges.receivers[row, active].tolist(), strict=True))


def irregular(experts, *, seed):
    """A random graph whose number of edges depends on the seed."""
    import networkx as nx

    return nx.gnp_random_graph(experts, 0.3, seed=seed, directed=True)


@pytest.mark.parametrize("topology", ["random_regular", "small_world", irregular, partial(random_regular, degree=3)])
def test_each_graph_is_that_of_its_seed(topology):
    function = {"random_regular": random_regular, "small_world": small_world}.get(topology, topology)
    edges = PerEpisode(topology, graphs=4, seed=7).make_edges(E, LIKE)
    for row in range(4):
        alone = make_edges(function(E, seed=7 + row), E, 1, LIKE)
        assert pairs(edges, row) == pairs(alone, 0)
    assert len({tuple(pairs(edges, row)) for row in range(4)}) > 1


def test_graphs_of_a_regular_topology_keep_the_cached_fields():
    edges = PerEpisode("random_regular", graphs=3).make_edges(E, LIKE)
    alone = make_edges(partial(random_regular, seed=2), E, 1, LIKE)
    assert is_unmodified(edges)
    chosen = select_graphs(edges, torch.tensor([2]))
    assert is_unmodified(chosen)
    for part, want in zip(chosen[:5], alone[:5], strict=True):
        torch.testing.assert_close(part, want)


def test_edges_of_masked_rows_are_replaced():
    edges = PerEpisode("random_regular", graphs=4).make_edges(E, LIKE)
    old, new = (select_graphs(edges, torch.tensor(graph)) for graph in ([0, 1], [2, 3]))
    mixed = where_edges(torch.tensor([True, False]), new, old)
    assert is_unmodified(mixed)
    assert pairs(mixed, 0) == pairs(new, 0) and pairs(mixed, 1) == pairs(old, 1)


def test_rows_that_are_kept_stay_silenced():
    edges = PerEpisode("random_regular", graphs=4).make_edges(E, LIKE)
    old = silence(select_graphs(edges, torch.tensor([0, 1])), [3], num_experts=E)
    mixed = where_edges(torch.tensor([True, False]), select_graphs(edges, torch.tensor([2, 3])), old)
    assert not is_unmodified(mixed)
    assert not any(sender == 3 for sender, _ in pairs(mixed, 1)) and any(sender == 3 for sender, _ in pairs(mixed, 0))


@pytest.mark.parametrize("topology", ["ring", lambda experts: edge_list("ring", experts)])
def test_a_topology_without_a_seed_is_refused(topology):
    with pytest.raises(ValueError, match="has no argument seed, so it is the same in every episode"):
        PerEpisode(topology)


def test_no_graphs_and_unknown_names_are_refused():
    with pytest.raises(ValueError, match="graphs=0, want at least 1"):
        PerEpisode("random_regular", graphs=0)
    with pytest.raises(ValueError, match="unknown topology 'random_regula'"):
        PerEpisode("random_regula")
