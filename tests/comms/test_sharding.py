"""Cutting a topology into parts, and what each part sends and receives."""

import numpy as np
import pytest

from comms import TOPOLOGIES, EdgeList, edge_list
from comms.sharding import crossing_edges, make_shard, partition


def shuffled(topology, experts, seed=0):
    """The topology with experts in another order."""
    rows = edge_list(topology, experts)
    order = np.random.default_rng(seed).permutation(experts)
    return edge_list(EdgeList(order[rows.senders], order[rows.receivers], rows.weight), experts)


@pytest.mark.parametrize(
    ("topology", "experts", "crossing"), [("ring", 90, 2 * 3), ("ring_lattice", 90, 20 * 3), ("grid", 90, 2 * 10 * 2)]
)
def test_rings_lattices_and_grids_are_cut_along_short_borders(topology, experts, crossing):
    rows = edge_list(topology, experts)
    process = partition(rows, experts, 3)
    assert crossing_edges(rows, process) == crossing
    assert (np.diff(process) >= 0).all()


@pytest.mark.parametrize("topology", ["ring", "ring_lattice", "grid"])
def test_an_order_that_hides_the_shape_costs_few_more_edges(topology):
    rows, best = shuffled(topology, 400), edge_list(topology, 400)
    few = crossing_edges(best, partition(best, 400, 2))
    assert crossing_edges(rows, partition(rows, 400, 2)) <= 3 * few


@pytest.mark.parametrize("topology", TOPOLOGIES)
@pytest.mark.parametrize("parts", [1, 3, 7])
def test_parts_have_equal_sizes(topology, parts):
    sizes = np.bincount(partition(edge_list(topology, 20), 20, parts), minlength=parts)
    assert sizes.max() - sizes.min() <= (1 if 20 % parts else 0)


def test_more_parts_than_experts_are_refused():
    with pytest.raises(ValueError, match="parts=3, want 1 to experts=2"):
        partition(edge_list("ring", 2), 2, 3)


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_shards_together_are_the_graph(topology):
    rows = shuffled(topology, 12)
    process = partition(rows, 12, 3)
    shards, found = [make_shard([rows], process, rank) for rank in range(3)], []
    for shard in shards:
        index = shard.experts.chosen.numpy()
        local = shard.graphs[0]
        found += list(zip(index[local.senders], index[local.receivers], local.weight, strict=True))
        assert (rows.senders[shard.edges.chosen.numpy()] == index[local.senders]).all()
    assert sorted(found) == sorted(zip(*rows, strict=True))


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_what_one_process_sends_is_what_the_others_expect(topology):
    rows = shuffled(topology, 12)
    process = partition(rows, 12, 3)
    shards = [make_shard([rows], process, rank) for rank in range(3)]
    sent = [np.split(s.experts.chosen[s.send].numpy(), np.cumsum(s.send_counts)[:-1]) for s in shards]
    for rank, shard in enumerate(shards):
        expected = np.split(shard.experts.chosen[shard.size :].numpy(), np.cumsum(shard.receive_counts)[:-1])
        for source in range(3):
            assert (sent[source][rank] == expected[source]).all()
        assert shard.send_counts[rank] == shard.receive_counts[rank] == 0


def test_an_output_is_sent_once_to_a_process():
    rows = edge_list("complete", 6)
    shard = make_shard([rows], partition(rows, 6, 2), 0)
    assert shard.send.tolist() == [0, 1, 2] and shard.num_crossing == 18
