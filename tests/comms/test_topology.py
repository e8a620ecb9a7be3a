"""Names, callables and graphs become edges; edges are changed in the middle of an episode."""

from functools import partial

import networkx as nx
import numpy as np
import pytest
import torch

from comms import (
    TOPOLOGIES,
    EdgeList,
    connect_new_experts,
    edge_list,
    get_by_name,
    lesion,
    make_edges,
    mask_absent,
    silence,
)
from comms.generators import random_regular, ring_lattice, small_world
from comms.topology import is_unmodified

LIKE = torch.zeros((), dtype=torch.float64)
SIZES = [*range(1, 13), 64]


def pairs(edges, row=0):
    """Live edges of an episode as {(sender, receiver): weight}; parallel edges add up."""
    senders, receivers, weight = (part[row].tolist() for part in edges[:3])
    live = {}
    for i, j, w in zip(senders, receivers, weight, strict=True):
        if w:
            live[i, j] = live.get((i, j), 0) + w
    return live


def adjacency(topology, experts):
    matrix = np.zeros((experts, experts))
    for (i, j), w in pairs(make_edges(topology, experts, 1, LIKE)).items():
        matrix[i, j] = w
    return matrix


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_every_topology_works_for_any_number_of_experts(name):
    for experts in SIZES:
        matrix = adjacency(name, experts)
        assert (matrix == matrix.T).all()
        assert not matrix.diagonal().any()
        assert set(np.unique(matrix)) <= {0, 1}


@pytest.mark.parametrize("name", sorted(set(TOPOLOGIES) - {"none"}))
def test_connected_topologies_are_strongly_connected(name):
    assert all(nx.is_connected(nx.from_numpy_array(adjacency(name, experts))) for experts in SIZES)


def rectangle(experts):
    rows = max(r for r in range(1, experts + 1) if experts % r == 0 and r * r <= experts)
    return nx.grid_2d_graph(rows, experts // rows)


@pytest.mark.parametrize(
    ("name", "oracle"),
    [
        ("complete", nx.complete_graph),
        ("ring", lambda n: nx.cycle_graph(n) if n > 1 else nx.empty_graph(n)),
        ("ring_lattice", lambda n: nx.circulant_graph(n, range(1, 5)) if n > 9 else nx.complete_graph(n)),
        ("grid", rectangle),
        ("none", nx.empty_graph),
    ],
)
def test_array_topologies_equal_those_of_networkx(name, oracle):
    for experts in [*range(1, 40), 64]:
        np.testing.assert_array_equal(adjacency(name, experts), adjacency(oracle(experts), experts))


@pytest.mark.parametrize("degree", range(8))
def test_a_random_regular_graph_is_regular_simple_and_symmetric(degree):
    for experts in range(1, 24):
        rows = random_regular(experts, degree=degree, seed=degree)
        matrix = np.zeros((experts, experts))
        np.add.at(matrix, (rows.senders, rows.receivers), rows.weight)
        most = min(degree, experts - 1)
        assert set(matrix.sum(0)) == {most - experts * most % 2}
        assert (matrix == matrix.T).all() and matrix.max(initial=0) <= 1 and not matrix.diagonal().any()


def test_random_regular_graphs_of_other_seeds_differ():
    first, again, other = (adjacency(partial(random_regular, seed=seed), 30) for seed in (0, 0, 1))
    assert (first == again).all() and (first != other).any()


def test_every_edge_is_equally_likely_in_a_random_regular_graph():
    mean = np.mean([adjacency(partial(random_regular, degree=2, seed=seed), 7) for seed in range(600)], 0)
    off_diagonal = mean[~np.eye(7, dtype=bool)]
    np.testing.assert_allclose(off_diagonal, 2 / 6, atol=0.1)  # five standard deviations


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_a_topology_is_deterministic(name):
    assert (adjacency(name, 20) == adjacency(name, 20)).all()


@pytest.mark.parametrize(
    ("name", "degrees"),
    [
        ("complete", [5] * 6),
        ("ring", [2] * 6),
        ("grid", [2, 3, 2, 2, 3, 2]),
        ("star", [5, 1, 1, 1, 1, 1]),
        ("random_regular", [4] * 6),
        ("none", [0] * 6),
    ],
)
def test_six_experts_have_these_numbers_of_neighbors(name, degrees):
    assert adjacency(name, 6).sum(0).tolist() == degrees


def test_the_small_world_rewires_some_edges_of_the_ring_lattice():
    world, lattice = (adjacency(partial(small_world, rewire=p), 64) for p in (0.1, 0.0))
    assert world.sum() == lattice.sum() == 64 * 4
    assert 0 < (world != lattice).sum() < 64


def test_an_odd_degree_among_an_odd_number_is_lowered():
    assert set(adjacency(partial(random_regular, degree=3), 7).sum(0)) == {2}


@pytest.mark.parametrize("kind", [nx.Graph, nx.DiGraph, nx.MultiGraph, nx.MultiDiGraph])
def test_edges_agree_with_networkx(kind):
    rng = np.random.default_rng(0)
    graph = kind()
    graph.add_nodes_from("dbcae")
    for _ in range(12):
        graph.add_edge(*rng.choice([*"abcde"], 2), weight=float(rng.integers(0, 4)))
    graph.add_edge("a", "a", weight=2.5)
    graph.add_edge("a", "b")
    np.testing.assert_array_equal(adjacency(graph, 5), nx.to_numpy_array(graph, nodelist="dbcae"))


def test_parallel_edges_are_kept():
    graph = nx.MultiDiGraph([(0, 1, {"weight": 1.0}), (0, 1, {"weight": 2.0})])
    assert sorted(edge_list(graph, 2).weight) == [1, 2]


def test_nodes_labelled_by_index_are_the_experts_of_that_index():
    assert pairs(make_edges(nx.DiGraph([(2, 0), (1, 2)]), 3, 1, LIKE)) == {(2, 0): 1, (1, 2): 1}


def test_other_labels_are_numbered_in_insertion_order():
    assert pairs(make_edges(nx.DiGraph([(3, 1), (1, 2)]), 3, 1, LIKE)) == {(0, 1): 1, (1, 2): 1}


def test_an_edge_leads_from_its_first_node_to_its_second():
    edges = make_edges(nx.DiGraph([(0, 1)]), 2, 1, LIKE)
    assert (edges.senders.item(), edges.receivers.item()) == (0, 1)


def test_episodes_share_the_memory_of_one_graph():
    edges = make_edges("complete", 4, 64, LIKE.float())
    assert all(part.shape[0] == 64 and part.stride(0) == 0 for part in edges)
    assert {part.shape[1:] for part in edges[:3]} == {(12,)}
    assert edges.weight.dtype == torch.float32


def test_an_edge_list_gives_the_same_edges_as_its_topology():
    rows = edge_list("small_world", 9)
    assert pairs(make_edges(rows, 9, 2, LIKE)) == pairs(make_edges("small_world", 9, 2, LIKE))


def test_edges_are_sorted_by_receiver_then_sender():
    rows = edge_list("complete", 3)
    assert (rows.receivers.tolist(), rows.senders.tolist()) == ([0, 0, 1, 1, 2, 2], [1, 2, 0, 2, 0, 1])


def test_lesioned_experts_neither_send_nor_receive():
    edges = lesion(make_edges("complete", 4, 2, LIKE), [1, 3], num_experts=4)
    assert [*pairs(edges)] == [(2, 0), (0, 2)]


def test_silenced_experts_receive_but_do_not_send():
    edges = silence(make_edges("complete", 3, 2, LIKE), [1], num_experts=3)
    assert [*pairs(edges, 1)] == [(2, 0), (0, 1), (2, 1), (0, 2)]


def test_a_lesion_does_not_change_its_argument():
    edges = make_edges("ring", 5, 2, LIKE)
    lesion(edges, [0], num_experts=5)
    assert edges.weight.all()


def test_edges_of_absent_experts_are_inactive_in_their_rows():
    edges = mask_absent(make_edges("complete", 3, 2, LIKE), torch.tensor([[True, True, False], [True, True, True]]))
    assert [*pairs(edges, 0)] == [(1, 0), (0, 1)]
    assert len(pairs(edges, 1)) == 6


def test_edges_of_new_experts_are_appended_to_the_old_ones():
    before = lesion(make_edges("complete", 3, 2, LIKE), [0], num_experts=3)
    after = connect_new_experts(before, "complete", old_size=3, new_size=5)
    assert all(torch.equal(new[:, :6], old) for new, old in zip(after[:3], before[:3], strict=True))
    fresh = pairs(after)
    assert len(fresh) == 2 + 14
    assert all(max(pair) >= 3 for pair in set(fresh) - {(1, 2), (2, 1)})


def test_new_experts_of_a_star_are_connected_to_its_hub():
    edges = connect_new_experts(make_edges("none", 2, 1, LIKE), "star", old_size=2, new_size=4)
    assert [*pairs(edges)] == [(2, 0), (3, 0), (0, 2), (0, 3)]


@pytest.mark.parametrize("name", ["ring", "ring_lattice", "grid", "random_regular", "none"])
def test_a_hundred_thousand_experts_are_connected(name):
    edges = make_edges(name, 100_000, 64, LIKE)
    heard = torch.bincount(edges.receivers[0], minlength=100_000)
    assert heard.max() <= {"ring": 2, "ring_lattice": 8, "grid": 4, "random_regular": 4, "none": 0}[name]
    assert (heard.min() == heard.max() > 0) == is_unmodified(edges)


def test_the_layout_index_of_a_sparse_graph_is_the_senders_of_each_receiver():
    edges = make_edges("ring", 9, 3, LIKE)
    assert edges.layout_index[2].mT.tolist() == [[1, 8], *([i - 1, i + 1] for i in range(1, 8)), [0, 7]]


@pytest.mark.parametrize(
    "topology",
    [
        "star",
        "none",
        nx.MultiDiGraph([(0, 1), (0, 1), (1, 0), (0, 0), (2, 2), (1, 2)]),
        nx.DiGraph([(0, 1), (0, 2), (1, 2)]),
    ],
)
def test_irregular_and_parallel_edges_have_no_layout_index(topology):
    assert make_edges(topology, 3, 2, LIKE).layout_index is None


def test_an_unsorted_edge_list_is_sorted():
    rows = edge_list(EdgeList(np.array([1, 0, 2]), np.array([2, 1, 0]), np.array([3.0, 2.0, 1.0])), 3)
    assert [x.tolist() for x in rows] == [[2, 0, 1], [0, 1, 2], [1, 2, 3]]


def test_a_callable_may_give_an_edge_list():
    rows = edge_list("grid", 6)
    assert pairs(make_edges(lambda n: rows, 6, 1, LIKE)) == pairs(make_edges("grid", 6, 1, LIKE))


def test_sparse_graphs_of_ten_thousand_experts_are_cheap():
    assert make_edges("small_world", 10_000, 64, LIKE).weight.shape == (64, 40_000)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: edge_list("rign", 3), "unknown topology 'rign', want one of: complete, ring, .*mean 'ring'"),
        (lambda: edge_list("ring", 0), "experts=0, want at least 1"),
        (lambda: edge_list(nx.path_graph(4), 3), "4 nodes, want experts=3: change one"),
        (lambda: edge_list(lambda n: nx.path_graph(n + 1), 3), "4 nodes, want experts=3"),
        (lambda: make_edges(edge_list("ring", 5), 4, 1, LIKE), "names expert 4, want 0 to 3"),
        (lambda: edge_list(EdgeList(np.array([-1]), np.array([0]), np.ones(1)), 3), "names expert -1, want 0 to 2"),
        (lambda: edge_list(EdgeList(np.array([1]), np.array([0]), -np.ones(1)), 3), "1 -> 0 has weight -1.0, want"),
        (
            lambda: edge_list(EdgeList(np.array([1, 0]), np.array([0]), np.ones(2)), 3),
            r"'receivers': \(1,\)",
        ),
        (
            lambda: edge_list(EdgeList(np.array([1]), np.array([0]), np.ones(())), 3),
            r"'weight': \(\)}, want three",
        ),
        (lambda: edge_list(EdgeList(np.array([1.0]), np.array([0]), np.ones(1)), 3), "are float64 and int64, want int"),
        (lambda: ring_lattice(9, neighbors=3), "neighbors=3, want an even number"),
        (lambda: random_regular(9, degree=-1), "degree=-1, want at least 0"),
        (
            lambda: connect_new_experts(make_edges("ring", 3, 1, LIKE), "ring", old_size=3, new_size=2),
            "new_size=2, want at least old_size=3",
        ),
        *[
            (
                lambda w=w: edge_list(nx.Graph([("a", "b", {"weight": w})]), 2),
                "'a' -> 'b' has weight .*finite",
            )
            for w in (-1.0, float("nan"), float("inf"), "heavy", None)
        ],
    ],
)
def test_invalid_values_raise_with_the_wanted_value(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_an_object_that_is_no_graph_is_a_type_error():
    with pytest.raises(TypeError, match="gives ndarray, want a networkx graph"):
        edge_list(lambda n: np.eye(n), 3)
    with pytest.raises(TypeError):
        edge_list(3, 3)


@pytest.mark.parametrize("change", [lesion, silence])
@pytest.mark.parametrize("expert", [-1, 3])
def test_an_expert_that_does_not_exist_is_an_index_error(change, expert):
    with pytest.raises(IndexError, match=f"expert {expert} does not exist, want 0 to 2"):
        change(make_edges("none", 3, 1, LIKE), [expert], num_experts=3)


def test_a_name_unlike_all_others_gets_no_suggestion():
    with pytest.raises(ValueError, match=r"unknown bus 'zzz', want one of: mean\.$"):
        get_by_name({"mean": 1}, "zzz", "bus")
