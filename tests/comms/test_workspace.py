"""A shared workspace: against a slow reference, writers, readers and cost."""

import networkx as nx
import numpy as np
import pytest
import torch
from torch.func import functional_call, stack_module_state
from torch.testing import assert_close

import oracles_comms as oracles
from comms import Edges, Gated, Mean, Workspace, make_edges, silence

B, E, Y, M, S = 3, 6, 5, 4, 3
ALONE = E - 1  # receives from no expert


def made(seed=0, **options):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Workspace(Y, M, **{"slots": S, "key_size": 3} | options).double()


def outputs(seed=0, experts=E, batch=B):
    rng = torch.Generator().manual_seed(seed)
    return 2 * torch.randn(batch, experts, Y, dtype=torch.float64, generator=rng)


def lines(y, topology=None):
    """The edges of a graph with weights, some of them dead in some rows."""
    if topology is None:
        topology = nx.gnp_random_graph(ALONE, 0.6, seed=0, directed=True)
        topology.add_edges_from([(ALONE, 0), (ALONE, 2)])
        nx.set_edge_attributes(topology, {edge: 0.5 + i % 3 for i, edge in enumerate(topology.edges)}, "weight")
    edges = make_edges(topology, y.shape[1], len(y), y)
    dead = torch.rand(edges.weight.shape, generator=torch.Generator().manual_seed(0)) < 0.2
    return edges._replace(weight=edges.weight.masked_fill(dead, 0))


@pytest.mark.parametrize("top_k", [None, 1, 2, 9])
def test_rounds_agree_with_the_slow_reference(top_k):
    bus, y = made(top_k=top_k), outputs()
    edges, slots = lines(y), bus.initial_state(y)
    want, plain = slots.numpy(), Edges(*(part.numpy() for part in lines(y)[:3]))
    for seed in range(3):
        y = outputs(seed)
        delivery, slots = bus(y, edges, slots, None)
        inbox, weights, messages, want = oracles.workspace(bus, y.numpy(), plain, want)
        for got, wanted in ((delivery.inbox, inbox), (delivery.weights, weights), (slots, want)):
            np.testing.assert_allclose(got.detach(), wanted, atol=1e-12)
        assert delivery.num_messages.tolist() == messages.tolist()
        assert_close(delivery.num_floats, delivery.num_messages * (3 + M))


def test_gradients_agree_with_finite_differences():
    bus, y = made(top_k=3), outputs(batch=1)
    edges = lines(y, nx.complete_graph(E))
    weight = torch.linspace(0.3, 2, edges.weight.shape[1], dtype=y.dtype)[None]

    def run(y, weight, slots):
        delivery, slots = bus(y, edges._replace(weight=weight), slots, None)
        return delivery.inbox, slots

    given = (y.requires_grad_(), weight.requires_grad_(), outputs(batch=1)[:, :S, :M].clone().requires_grad_())
    assert torch.autograd.gradcheck(run, given, fast_mode=True)


def test_slots_do_not_stay_equal():
    bus, y = made(), outputs()
    _, slots = bus(y, make_edges("complete", E, B, y), bus.initial_state(y), None)
    assert (slots[:, 0] - slots[:, 1]).abs().amin() > 1e-6


def test_a_reader_receives_from_experts_without_an_edge_to_it():
    bus, y = made(), outputs()
    edges = make_edges("ring", E, B, y)
    louder = y.clone()
    louder[:, 3] += 1
    heard, other = (bus(x, edges, bus.initial_state(x), None)[0].inbox[:, 0] for x in (y, louder))
    assert (heard - other).abs().amin() > 1e-9


def test_slots_keep_what_silenced_experts_wrote_earlier_and_take_nothing_new():
    bus, y = made(), outputs()
    edges = make_edges("complete", E, B, y)
    quiet = silence(edges, [1], num_experts=E)
    louder = y.clone()
    louder[:, 1] += 1
    _, before = bus(y, edges, bus.initial_state(y), None)
    _, other = bus(louder, edges, bus.initial_state(y), None)
    assert not torch.allclose(before, other)
    assert torch.equal(bus(y, quiet, before, None)[1], bus(louder, quiet, before, None)[1])
    nobody, slots = bus(y, edges._replace(weight=edges.weight * 0), before, None)
    assert torch.equal(slots, before) and not any(part.any() for part in nobody)


def test_only_the_top_k_experts_write():
    bus, y = made(top_k=1), outputs()
    edges, state = make_edges("complete", E, B, y), outputs()[:, :S, :M]
    leaf = y.clone().requires_grad_()
    with torch.no_grad():
        key = bus.query_key_value(y).split(bus.sizes, -1)[1]
        winner = (bus.query(state + bus.slot_embedding) @ key.mT).argmax(-1)  # (B, S)
    for s in range(S):
        (slope,) = torch.autograd.grad(bus(leaf, edges, state, None)[1][:, s].sum(), leaf)
        assert slope.abs().sum(-1).nonzero().tolist() == [[b, int(winner[b, s])] for b in range(B)]


def test_a_gate_around_a_workspace_receives_gradient():
    bus, y = Gated(made()).double(), outputs()
    delivery, _ = bus(y, make_edges("complete", E, B, y), bus.initial_state(y), torch.Generator().manual_seed(0))
    delivery.inbox.square().sum().backward()
    assert bus.gate.weight.grad.all()


def test_a_huge_score_of_a_silenced_expert_changes_no_other_expert():
    bus, y = made(top_k=2), outputs()
    y[:, 1] *= 1e4
    edges = silence(make_edges("complete", E, B, y), [1], num_experts=E)
    weight = edges.weight.clone().requires_grad_()
    delivery, slots = bus(y.requires_grad_(), edges._replace(weight=weight), bus.initial_state(y), None)
    assert (slots.abs().amax((1, 2)) > 1e-3).all()
    slopes = torch.autograd.grad(delivery.inbox.sum(), (y, weight))
    assert all(slope.isfinite().all() for slope in slopes)


def test_a_population_of_parameters_runs_under_vmap():
    y, slots = outputs(), outputs()[:, :S, :M]
    edges, buses = lines(y), [made(seed, top_k=2) for seed in range(3)]
    stacked, _ = stack_module_state(buses)

    def loss(parameters, bus=buses[0]):
        return functional_call(bus, parameters, (y, edges, slots, None))[0].inbox.square().sum()

    gradients, values = torch.func.vmap(torch.func.grad_and_value(loss))(stacked)
    for i, bus in enumerate(buses):
        value = loss(dict(bus.named_parameters()), bus)
        value.backward()
        assert_close(values[i], value)
        for name, parameter in bus.named_parameters():
            assert_close(gradients[name][i], parameter.grad)


def test_a_hundred_thousand_experts_share_a_workspace():
    bus, y = made(slots=2).float(), outputs(experts=100_000, batch=1).float()
    edges = make_edges("ring", 100_000, 1, y)
    delivery, slots = bus(y, edges, bus.initial_state(y), None)
    assert delivery.inbox.shape == (1, 100_000, M) and slots.shape == (1, 2, M)
    assert delivery.num_messages.item() == 300_000 and delivery.inbox.isfinite().all()


@pytest.mark.parametrize(
    ("options", "error"),
    [({"slots": 0}, "slots=0, want at least 1"), ({"top_k": 0}, "top_k=0, want at least 1, or None for all")],
)
def test_sizes_below_one_raise(options, error):
    with pytest.raises(ValueError, match=error):
        Workspace(Y, M, **options)


def test_a_workspace_sends_fewer_messages_than_a_complete_graph():
    y = outputs(experts=30)
    edges = make_edges("complete", 30, B, y)
    workspace, mean = (
        bus.double()(y, edges, bus.initial_state(y), None)[0].num_messages[0].item() for bus in (made(), Mean(Y, M))
    )
    assert (workspace, mean) == (30 + S * 30, 30 * 29)
