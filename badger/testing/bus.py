"""What every bus must hold: `check_bus` and `BUS_PROPERTIES`.

Shapes: B episode, E expert, Y output of an expert, M message.
"""

from collections.abc import Callable, Collection
from functools import wraps
from typing import TypeAlias

import networkx as nx
import torch
from torch import Tensor

from badger.testing.contract import Properties, by_name, check_all, close, equal, expect, line
from badger.testing.devices import META, all_on_meta, without_values
from comms import Bus, Delivery, Edges, make_edges

Make: TypeAlias = Callable[[int, int], Bus]
B, E, Y, M = 3, 5, 6, 4
ALONE = E - 1  # hears nobody


def check_bus(factory: Make, *, properties: Collection[str] | None = None) -> None:
    """Checks a bus against the contract, on an irregular and on a regular graph with weights.

    Args:
        factory: (input_size, message_size) -> Bus, as in `comms.BUSES`. It is called twice for each property.
        properties: names out of `BUS_PROPERTIES`; None: all.

    Raises:
        ContractError: the first property that does not hold: its name, what was wanted, what came.
        ValueError: a name that is no property.
    """
    check_all(BUS_PROPERTIES, factory, properties)


def any_graph() -> nx.DiGraph:
    """An irregular graph in which the last expert hears nobody."""
    graph = nx.gnp_random_graph(E - 1, 0.7, seed=0, directed=True)
    graph.add_edges_from([(ALONE, 0), (ALONE, 1)])
    nx.set_edge_attributes(graph, {edge: 0.5 + i % 3 for i, edge in enumerate(graph.edges)}, "weight")
    return graph


def regular_graph() -> nx.DiGraph:
    """A graph in which everyone hears two others, but the last expert over dead edges."""
    graph = nx.DiGraph()
    graph.add_nodes_from(range(E))
    for i in range(E):
        graph.add_weighted_edges_from((i, (i + step) % E, 0.5 + i % 3) for step in (1, 2))
    nx.set_edge_attributes(graph, {edge: 0.0 for edge in graph.in_edges(ALONE)}, "weight")
    return graph


def deliver(bus: Bus, y: Tensor, edges: Edges, rounds: int = 2) -> Delivery:
    """The last of some rounds, so that a bus with state has one; the generator is always the same."""
    rng, state = torch.Generator().manual_seed(0), bus.initial_state(y)
    for _ in range(rounds):
        delivery, state = bus(y, edges, state, rng)
    return delivery


def on_both_graphs(check: Callable[[Bus, Tensor, Edges], None]) -> Callable[[Make], None]:
    """A property of a bus on some edges as a property of the factory, on an irregular and on a regular graph."""

    @wraps(check)
    def checked(make: Make) -> None:
        for graph in (any_graph(), regular_graph()):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                bus, y = make(Y, M).double(), torch.randn(B, E, Y, dtype=torch.float64)
            check(bus, y, make_edges(graph, E, B, y))

    return line(checked)


@on_both_graphs
def shapes_and_dtype_follow_the_input(bus: Bus, y: Tensor, edges: Edges) -> None:
    for cast in (torch.float64, torch.float32):
        x, lines = y.to(cast), edges._replace(weight=edges.weight.to(cast))
        delivery = deliver(bus.to(cast), x, lines)
        equal(bus.input_size, Y, "input_size")
        equal(tuple(delivery.inbox.shape), (B, E, bus.message_size), "an inbox (episodes, experts, message_size)")
        equal(tuple(delivery.weights.shape), tuple(edges.weight.shape), "a weight for each edge")
        equal([tuple(cost.shape) for cost in delivery[2:]], [(B,), (B,)], "messages and floats of each episode")
        equal({part.dtype for part in delivery}, {cast}, "a delivery of")


@on_both_graphs
def rows_do_not_leak(bus: Bus, y: Tensor, edges: Edges) -> None:
    other = torch.cat([y[:1], 1 - y[1:]])
    for name, a, b in zip(Delivery._fields, deliver(bus, y, edges), deliver(bus, other, edges), strict=True):
        close(a[0], b[0], f"{name} that do not depend on other episodes")


@on_both_graphs
def experts_permute_with_their_inboxes(bus: Bus, y: Tensor, edges: Edges) -> None:
    """In eval mode, since a random bus may draw by place."""
    order = torch.tensor([3, 0, 4, 1, 2])  # the new place of each expert
    moved = Edges(order[edges.senders], order[edges.receivers], edges.weight)
    y_moved = torch.empty_like(y).index_copy(1, order, y)
    plain, permuted = (deliver(bus.eval(), *args) for args in ((y, edges), (y_moved, moved)))
    close(permuted.inbox[:, order], plain.inbox, "inboxes that permute with the experts", rtol=1e-7, atol=1e-7)
    close(permuted.weights, plain.weights, "the same weight on each edge", rtol=1e-7, atol=1e-7)


@on_both_graphs
def dead_edges_carry_nothing(bus: Bus, y: Tensor, edges: Edges) -> None:
    dead, all_alive = edges.senders == 1, deliver(bus, y, edges)
    edges = edges._replace(weight=edges.weight.masked_fill(dead, 0))
    louder = y.clone()
    louder[:, 1] += 10
    heard, same = deliver(bus, y, edges), deliver(bus, louder, edges)
    others = torch.arange(E) != 1
    close(heard.inbox[:, others], same.inbox[:, others], "inboxes without what an expert says over dead edges")
    expect(not heard.weights[dead].any(), "weight 0 on dead edges", heard.weights[dead].tolist())
    expect(
        (heard.num_messages <= all_alive.num_messages).all(),
        "no more messages than of live edges",
        heard.num_messages.tolist(),
    )
    expect(
        (heard.num_floats <= all_alive.num_floats).all(), "no more floats than of live edges", heard.num_floats.tolist()
    )


@on_both_graphs
def who_hears_nobody_gets_zeros(bus: Bus, y: Tensor, edges: Edges) -> None:
    inbox = deliver(bus, y, edges).inbox[:, ALONE]
    expect(not inbox.any(), "an inbox of zeros where an expert hears nobody", inbox.tolist())


@on_both_graphs
def shares_add_up_to_one_or_zero(bus: Bus, y: Tensor, edges: Edges) -> None:
    weights = deliver(bus, y, edges).weights
    total = torch.zeros_like(y[..., 0]).scatter_add(1, edges.receivers, weights)
    close(total, total.round(), "weights of incoming edges that add up to 1 or 0", rtol=1e-7, atol=1e-7)
    expect((weights >= 0).all(), "weights of at least 0", weights.min().item())


@on_both_graphs
def gradient_reaches_the_experts_outputs(bus: Bus, y: Tensor, edges: Edges) -> None:
    inbox = deliver(bus, y.requires_grad_(), edges).inbox
    if inbox.requires_grad:
        (slope,) = torch.autograd.grad(inbox.square().sum(), y)
        expect(slope.isfinite().all() and slope.any(), "a finite gradient that is not 0", slope.tolist())
    else:  # a silent bus has nothing to learn from
        expect(not inbox.any(), "an inbox that carries gradient, or zeros", inbox.tolist())


@on_both_graphs
def the_same_generator_gives_the_same_delivery(bus: Bus, y: Tensor, edges: Edges) -> None:
    for name, a, b in zip(Delivery._fields, deliver(bus, y, edges), deliver(bus, y, edges), strict=True):
        expect(torch.equal(a, b), f"the same {name} from the same generator", "other ones")


@on_both_graphs
def dead_and_no_edges_are_no_trouble(bus: Bus, y: Tensor, edges: Edges) -> None:
    y.requires_grad_()
    for lines in (edges._replace(weight=edges.weight * 0), make_edges("none", E, B, y)):
        delivery = deliver(bus, y, lines)
        expect(not any(part.any() for part in delivery), "nothing delivered over dead edges", delivery)
        if delivery.inbox.requires_grad:
            (slope,) = torch.autograd.grad(delivery.inbox.sum(), y)
            expect(slope.isfinite().all(), "a finite gradient where all edges are dead", slope.tolist())


@without_values(lambda make: make(Y, M).double())
def rounds_run_on_the_meta_device(make: Make, bus: Bus) -> None:
    y = torch.zeros(B, E, Y, dtype=torch.float64, device=META, requires_grad=True)
    for graph in (any_graph(), regular_graph()):
        for training in (True, False):
            delivery = deliver(bus.train(training), y, make_edges(graph, E, B, y))
            found = [delivery.inbox.sum(), delivery.num_floats.sum()]
            if delivery.inbox.requires_grad:
                found += torch.autograd.grad(found[0], [y, *bus.parameters()], allow_unused=True)
            all_on_meta([*delivery, *found], "deliveries and gradients")
    state = bus.select_members(bus.initial_state(y), torch.zeros(E, dtype=torch.int64, device=META), y)
    all_on_meta(bus(y, make_edges(any_graph(), E, B, y), state, None)[0], "deliveries")


BUS_PROPERTIES: Properties = by_name(
    shapes_and_dtype_follow_the_input,
    rows_do_not_leak,
    experts_permute_with_their_inboxes,
    dead_edges_carry_nothing,
    who_hears_nobody_gets_zeros,
    shares_add_up_to_one_or_zero,
    gradient_reaches_the_experts_outputs,
    the_same_generator_gives_the_same_delivery,
    dead_and_no_edges_are_no_trouble,
    rounds_run_on_the_meta_device,
)
"""The contract of buses, by the names of its lines."""
