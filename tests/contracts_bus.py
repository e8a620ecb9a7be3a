"""What every bus must do, given a factory (input_size, message_size) -> Bus."""

import networkx as nx
import torch
from torch.testing import assert_close

from comms import Edges, connect

B, E, Y, M = 3, 5, 6, 4
ALONE = E - 1  # hears nobody


def check_bus(make):
    """All the properties below."""
    for check in CHECKS:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            y = torch.randn(B, E, Y, dtype=torch.float64)
            for graph in (_any_graph(), _regular_graph()):
                check(make(Y, M).double(), y.clone(), connect(graph, E, B, y))


def _any_graph():
    graph = nx.gnp_random_graph(E - 1, 0.7, seed=0, directed=True)
    graph.add_edges_from([(ALONE, 0), (ALONE, 1)])
    nx.set_edge_attributes(graph, {edge: 0.5 + i % 3 for i, edge in enumerate(graph.edges)}, "weight")
    return graph


def _regular_graph():
    graph = nx.DiGraph()
    graph.add_nodes_from(range(E))
    for i in range(E):
        graph.add_weighted_edges_from((i, (i + step) % E, 0.5 + i % 3) for step in (1, 2))
    nx.set_edge_attributes(graph, {edge: 0.0 for edge in graph.in_edges(ALONE)}, "weight")
    return graph


def deliver(bus, y, edges, rounds=2):
    """The last of some rounds, so that a bus with state has one; the generator is always the same."""
    rng, state = torch.Generator().manual_seed(0), bus.initial_state(y)
    for _ in range(rounds):
        delivery, state = bus(y, edges, state, rng)
    return delivery


def shapes_and_dtype_follow_the_input(bus, y, edges):
    for cast in (torch.float64, torch.float32):
        x, lines = y.to(cast), edges._replace(weight=edges.weight.to(cast))
        delivery = deliver(bus.to(cast), x, lines)
        assert bus.input_size == Y
        assert delivery.inbox.shape == (B, E, bus.message_size)
        assert delivery.weights.shape == edges.weight.shape
        assert delivery.messages.shape == delivery.floats.shape == (B,)
        assert {part.dtype for part in delivery} == {cast}


def rows_do_not_leak(bus, y, edges):
    other = torch.cat([y[:1], torch.randn_like(y[1:])])
    for a, b in zip(deliver(bus, y, edges), deliver(bus, other, edges), strict=True):
        assert_close(a[0], b[0])


def experts_permute_with_their_inboxes(bus, y, edges):
    order = torch.randperm(E)  # the new place of each expert; eval mode, since gates are drawn by place
    moved = Edges(order[edges.senders], order[edges.receivers], edges.weight)
    y_moved = torch.empty_like(y).index_copy(1, order, y)
    plain, permuted = (deliver(bus.eval(), *args) for args in ((y, edges), (y_moved, moved)))
    assert_close(permuted.inbox[:, order], plain.inbox)
    assert_close(permuted.weights, plain.weights)


def dead_edges_carry_nothing(bus, y, edges):
    dead, all_alive = edges.senders == 1, deliver(bus, y, edges)
    edges = edges._replace(weight=edges.weight.masked_fill(dead, 0))
    louder = y.clone()
    louder[:, 1] += 10
    heard, same = deliver(bus, y, edges), deliver(bus, louder, edges)
    assert_close(heard.inbox[:, torch.arange(E) != 1], same.inbox[:, torch.arange(E) != 1])
    assert not heard.weights[dead].any()
    assert (heard.messages <= all_alive.messages).all() and (heard.floats <= all_alive.floats).all()


def who_hears_nobody_gets_zeros(bus, y, edges):
    assert not deliver(bus, y, edges).inbox[:, ALONE].any()


def shares_add_up_to_one_or_zero(bus, y, edges):
    weights = deliver(bus, y, edges).weights
    total = torch.zeros_like(y[..., 0]).scatter_add(1, edges.receivers, weights)
    assert_close(total, total.round())
    assert (weights >= 0).all()


def gradient_reaches_the_experts_outputs(bus, y, edges):
    y.requires_grad_()
    inbox = deliver(bus, y, edges).inbox
    if inbox.requires_grad:  # a silent bus has nothing to learn from
        inbox.square().sum().backward()
        assert y.grad.isfinite().all() and y.grad.any()
    else:
        assert not inbox.any()


def the_same_generator_gives_the_same_delivery(bus, y, edges):
    for a, b in zip(deliver(bus, y, edges), deliver(bus, y, edges), strict=True):
        assert torch.equal(a, b)


def dead_and_no_edges_are_no_trouble(bus, y, edges):
    y.requires_grad_()
    for lines in (edges._replace(weight=edges.weight * 0), connect("none", E, B, y)):
        delivery = deliver(bus, y, lines)
        assert not any(part.any() for part in delivery)
        if delivery.inbox.requires_grad:
            assert torch.autograd.grad(delivery.inbox.sum(), y)[0].isfinite().all()


CHECKS = (
    shapes_and_dtype_follow_the_input,
    rows_do_not_leak,
    experts_permute_with_their_inboxes,
    dead_edges_carry_nothing,
    who_hears_nobody_gets_zeros,
    shares_add_up_to_one_or_zero,
    gradient_reaches_the_experts_outputs,
    the_same_generator_gives_the_same_delivery,
    dead_and_no_edges_are_no_trouble,
)
