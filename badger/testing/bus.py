"""Contract of buses: `check_bus` and `BUS_PROPERTIES`.

Shapes: B episode, E expert, Y output of an expert, M message.
"""

from collections.abc import Callable, Collection
from functools import wraps
from typing import TypeAlias

import networkx as nx
import torch
from torch import Tensor

from badger.rng import drawing_from, seeded_generator
from badger.testing.contract import Properties, by_name, check_all, close, equal, expect, line
from badger.testing.devices import META, all_on_meta, without_values
from comms import Bus, Delivery, Edges, make_edges

Make: TypeAlias = Callable[[int, int], Bus]
B, E, Y, M = 3, 5, 6, 4
ISOLATED = E - 1  # has no active incoming edge


def check_bus(factory: Make, *, properties: Collection[str] | None = None) -> None:
    """Checks a bus against the contract, on an irregular and on a regular graph with weights.

    Args:
        factory: (input_size, message_size) -> Bus, as in `comms.BUSES`. It is called twice for each property.
        properties: names out of `BUS_PROPERTIES`; None: all.

    Raises:
        ContractError: the first property that does not hold, with the wanted and the actual value.
        ValueError: a name that is no property.
    """
    check_all(BUS_PROPERTIES, factory, properties)


def any_graph() -> nx.DiGraph:
    """An irregular graph in which the last expert has no incoming edge."""
    graph = nx.gnp_random_graph(E - 1, 0.7, seed=0, directed=True)
    graph.add_edges_from([(ISOLATED, 0), (ISOLATED, 1)])
    nx.set_edge_attributes(graph, {edge: 0.5 + i % 3 for i, edge in enumerate(graph.edges)}, "weight")
    return graph


def regular_graph() -> nx.DiGraph:
    """A graph with two incoming edges for each expert; those of the last expert are inactive."""
    graph = nx.DiGraph()
    graph.add_nodes_from(range(E))
    for i in range(E):
        graph.add_weighted_edges_from((i, (i + step) % E, 0.5 + i % 3) for step in (1, 2))
    nx.set_edge_attributes(graph, {edge: 0.0 for edge in graph.in_edges(ISOLATED)}, "weight")
    return graph


def deliver(bus: Bus, y: Tensor, edges: Edges, rounds: int = 2) -> Delivery:
    """The delivery of the last of several rounds, with a generator of a fixed seed."""
    rng, state = torch.Generator().manual_seed(0), bus.initial_state(y)
    for _ in range(rounds):
        delivery, state = bus(y, edges, state, rng)
    return delivery


def on_both_graphs(check: Callable[[Bus, Tensor, Edges], None]) -> Callable[[Make], None]:
    """Decorator: checks a property of a bus and its edges on an irregular and on a regular graph."""

    @wraps(check)
    def checked(make: Make) -> None:
        for graph in (any_graph(), regular_graph()):
            with drawing_from(seeded_generator(0)):
                bus, y = make(Y, M).double(), torch.randn(B, E, Y, dtype=torch.float64)
            check(bus, y, make_edges(graph, E, B, y))

    return line(checked)


@on_both_graphs
def shapes_and_dtype_follow_the_input(bus: Bus, y: Tensor, edges: Edges) -> None:
    for cast in (torch.float64, torch.float32):
        x, cast_edges = y.to(cast), edges._replace(weight=edges.weight.to(cast))
        delivery = deliver(bus.to(cast), x, cast_edges)
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
    """In eval mode, since a random bus may sample in the order of the experts."""
    permutation = torch.tensor([3, 0, 4, 1, 2])  # new index of each expert
    permuted_edges = Edges(permutation[edges.senders], permutation[edges.receivers], edges.weight)
    permuted_y = torch.empty_like(y).index_copy(1, permutation, y)
    plain, permuted = (deliver(bus.eval(), *args) for args in ((y, edges), (permuted_y, permuted_edges)))
    close(permuted.inbox[:, permutation], plain.inbox, "inboxes that permute with the experts", rtol=1e-7, atol=1e-7)
    close(permuted.weights, plain.weights, "the same weight on each edge", rtol=1e-7, atol=1e-7)


@on_both_graphs
def inactive_edges_carry_no_message(bus: Bus, y: Tensor, edges: Edges) -> None:
    inactive, all_active = edges.senders == 1, deliver(bus, y, edges)
    edges = edges._replace(weight=edges.weight.masked_fill(inactive, 0))
    changed = y.clone()
    changed[:, 1] += 10
    delivery, same = deliver(bus, y, edges), deliver(bus, changed, edges)
    others = torch.arange(E) != 1
    close(delivery.inbox[:, others], same.inbox[:, others], "inboxes without messages of inactive edges")
    expect(not delivery.weights[inactive].any(), "weight 0 on inactive edges", delivery.weights[inactive].tolist())
    expect(
        (delivery.num_messages <= all_active.num_messages).all(),
        "no more messages than with all edges active",
        delivery.num_messages.tolist(),
    )
    expect(
        (delivery.num_floats <= all_active.num_floats).all(),
        "no more floats than with all edges active",
        delivery.num_floats.tolist(),
    )


@on_both_graphs
def an_inbox_without_messages_is_zero(bus: Bus, y: Tensor, edges: Edges) -> None:
    inbox = deliver(bus, y, edges).inbox[:, ISOLATED]
    expect(not inbox.any(), "an inbox of zeros without active incoming edges", inbox.tolist())


@on_both_graphs
def incoming_weights_sum_to_one_or_zero(bus: Bus, y: Tensor, edges: Edges) -> None:
    weights = deliver(bus, y, edges).weights
    total = torch.zeros_like(y[..., 0]).scatter_add(1, edges.receivers, weights)
    close(total, total.round(), "weights of incoming edges that add up to 1 or 0", rtol=1e-7, atol=1e-7)
    expect((weights >= 0).all(), "weights of at least 0", weights.min().item())


@on_both_graphs
def gradient_reaches_the_experts_outputs(bus: Bus, y: Tensor, edges: Edges) -> None:
    inbox = deliver(bus, y.requires_grad_(), edges).inbox
    if inbox.requires_grad:
        (gradient,) = torch.autograd.grad(inbox.square().sum(), y)
        expect(gradient.isfinite().all() and gradient.any(), "a finite gradient that is not 0", gradient.tolist())
    else:  # a silent bus has no gradient
        expect(not inbox.any(), "an inbox that carries gradient, or zeros", inbox.tolist())


@on_both_graphs
def the_same_generator_gives_the_same_delivery(bus: Bus, y: Tensor, edges: Edges) -> None:
    for name, a, b in zip(Delivery._fields, deliver(bus, y, edges), deliver(bus, y, edges), strict=True):
        expect(torch.equal(a, b), f"the same {name} from the same generator", "different ones")


@on_both_graphs
def without_active_edges_a_delivery_is_zero(bus: Bus, y: Tensor, edges: Edges) -> None:
    y.requires_grad_()
    for inactive in (edges._replace(weight=edges.weight * 0), make_edges("none", E, B, y)):
        delivery = deliver(bus, y, inactive)
        expect(not any(part.any() for part in delivery), "a delivery of zeros without active edges", delivery)
        if delivery.inbox.requires_grad:
            (gradient,) = torch.autograd.grad(delivery.inbox.sum(), y)
            expect(gradient.isfinite().all(), "a finite gradient where all edges are inactive", gradient.tolist())


def build(make: Make) -> Bus:
    """A bus in float64."""
    return make(Y, M).double()


@without_values(build)
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
    inactive_edges_carry_no_message,
    an_inbox_without_messages_is_zero,
    incoming_weights_sum_to_one_or_zero,
    gradient_reaches_the_experts_outputs,
    the_same_generator_gives_the_same_delivery,
    without_active_edges_a_delivery_is_zero,
    rounds_run_on_the_meta_device,
)
"""Properties of a bus, by name."""
