"""The buses: against slow references, and what they cost."""

import subprocess
import sys
from functools import partial
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.func import functional_call, stack_module_state
from torch.testing import assert_close

import oracles_comms as oracles
from comms import Attention, Edges, Mean, Silent, edge_layouts, edge_list, make_edges
from comms.topology import is_unmodified

ROOT = Path(__file__).resolve().parents[2]
Y, M = 5, 4
BUILD = {"mean": partial(Mean, Y, M), "attention": partial(Attention, Y, M, heads=2, key_size=3)}
LAYOUTS = {"dense": "complete", "regular": "ring", "irregular dense": nx.wheel_graph, "sparse": "star"}
both = pytest.mark.parametrize("kind", BUILD)
every_layout = pytest.mark.parametrize("topology", LAYOUTS.values(), ids=LAYOUTS)


@st.composite
def multigraphs(draw, dense):
    """(y, edges): parallel, looping and dead edges, other ones in each row, as many as one path takes."""
    experts, batch = draw(st.integers(1, 6)), draw(st.integers(1, 3))
    few = (experts**2 - 1) // 4  # the most that take the sparse path
    count = draw(st.integers(few + 1, 20) if dense else st.integers(0, few))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    ends = (torch.from_numpy(rng.integers(0, experts, (batch, count))) for _ in range(2))
    weight = torch.from_numpy(rng.choice([0, 0.5, 1, 3], (batch, count)))
    return torch.from_numpy(3 * rng.standard_normal((batch, experts, Y))), Edges(*ends, weight)


@st.composite
def regular_graphs(draw, dense):
    """(y, edges): every row, and every receiver in it, hears other senders, equally many; some edges are dead."""
    batch = draw(st.integers(1, 3))
    experts, count = draw(st.sampled_from([(1, 1), (2, 1), (4, 1), (5, 2), (6, 6)] if dense else [(5, 1), (9, 2)]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    senders = torch.from_numpy(rng.random((batch, experts, experts)).argsort(-1)[..., :count].copy())
    receivers = torch.arange(experts).repeat_interleave(count).expand(batch, -1)
    weight = torch.from_numpy(rng.choice([0, 0, 0.5, 1, 3], (batch, experts * count)))
    index = senders.flatten(1) * experts + receivers if dense else senders.mT
    edges = Edges(senders.flatten(1), receivers, weight, index)
    return torch.from_numpy(3 * rng.standard_normal((batch, experts, Y))), edges


def build(kind, seed=0, **changes):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return BUILD[kind](**changes).double()


def padded(edges):
    """The same with dead edges, enough for the dense path."""
    dead = edges.senders.new_zeros(edges.senders.shape[0], 9)
    return Edges(*(torch.cat([x, dead.to(x.dtype)], 1) for x in edges[:3]))


def example(experts=4, batch=2, topology="complete"):
    y = torch.randn(batch, experts, Y, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return y, make_edges(topology, experts, batch, y)


@both
@pytest.mark.parametrize("dense", [True, False])
@given(data=st.data())
def test_inbox_and_weights_agree_with_the_slow_reference(kind, dense, data):
    y, edges = data.draw(multigraphs(dense))
    bus = build(kind)
    delivery, _ = bus(y, edges, (), None)
    inbox, weights = getattr(oracles, kind)(bus, y.numpy(), Edges(*(x.numpy() for x in edges[:3])))
    np.testing.assert_allclose(delivery.inbox.detach(), inbox, atol=1e-12)
    np.testing.assert_allclose(delivery.weights.detach(), weights, atol=1e-12)


def values_and_gradients(bus, y, edges):
    """Inbox, weights, and how a loss of both depends on the outputs, the edges' weights and the parameters."""
    leaves = [y.clone().requires_grad_(), edges.weight.clone().requires_grad_(), *bus.parameters()]
    inbox, weights, *_ = bus(leaves[0], edges._replace(weight=leaves[1]), (), None)[0]
    weighing = torch.arange(weights.shape[1], dtype=y.dtype) - 2  # distinguishes the edges, the dead ones too
    gradients = torch.autograd.grad(inbox.square().sum() + (weighing * weights).sum(), leaves)
    assert all(g.isfinite().all() for g in gradients)
    return inbox, weights, *gradients


@both
@given(data=st.data())
def test_dense_and_sparse_paths_have_the_same_gradients(kind, data):
    y, edges = data.draw(multigraphs(dense=False))
    bus, live = build(kind), slice(edges.weight.shape[1])
    sparse, dense = (values_and_gradients(bus, y, lines) for lines in (edges, padded(edges)))
    assert_close([x[:, live] if i in (1, 3) else x for i, x in enumerate(dense)], [*sparse])


@both
@pytest.mark.parametrize("dense", [True, False])
@given(data=st.data())
def test_the_regular_layout_agrees_with_the_general_one(kind, dense, data):
    y, edges = data.draw(regular_graphs(dense))
    bus = build(kind)
    fast, slow = (values_and_gradients(bus, y, lines) for lines in (edges, Edges(*edges[:3])))
    assert_close(fast, slow, rtol=1e-9, atol=1e-11)


@both
@pytest.mark.parametrize("limit", [0, 50, 200])
def test_blocks_of_neighbors_give_the_same_result_as_one_block(kind, limit, monkeypatch):
    y, edges = example(9, topology="ring")
    whole = values_and_gradients(build(kind), y, edges)
    monkeypatch.setattr(edge_layouts, "MAX_GATHERED", limit)
    assert_close(values_and_gradients(build(kind), y, edges), whole)


@both
@every_layout
def test_cached_log_weights_give_the_same_result_as_the_weights(kind, topology):
    y, edges = example(9, topology=topology)
    cached, uncached = (build(kind)(y, lines, (), None)[0] for lines in (edges, edges._replace(weight=+edges.weight)))
    assert_close(cached, uncached)


@pytest.mark.parametrize("topology", ["complete", "ring"])
def test_weights_of_the_graph_itself_count(topology):
    y, graph = example(9)[0], edge_list(topology, 9)
    edges = make_edges(graph._replace(weight=np.linspace(0.5, 2, len(graph.weight))), 9, 2, y)
    assert is_unmodified(edges)
    fast, slow = (build("attention")(y, lines, (), None)[0] for lines in (edges, Edges(*edges[:3])))
    assert_close(fast, slow)


@both
@every_layout
def test_gradients_agree_with_finite_differences(kind, topology):
    y, edges = example(10, 1, topology)
    bus = build(kind)
    weight = torch.linspace(0.3, 2, edges.weight.shape[1], dtype=y.dtype)[None]

    def run(y, weight):
        return bus(y, edges._replace(weight=weight), (), None)[0][:2]

    assert torch.autograd.gradcheck(run, (y.requires_grad_(), weight.requires_grad_()), fast_mode=True)


@pytest.mark.parametrize("bus", [build("mean"), build("attention", heads=1)])
def test_the_gradient_of_an_inactive_edge_is_that_of_opening_it(bus):
    (y, edges), step = example(3, 1), 1e-6
    quiet = bus(y, edges, (), None)[0].weights[0, :2].argmin()  # of the two that expert 0 hears
    dead, ajar = edges.weight.clone(), edges.weight.clone()
    dead[:, quiet], ajar[:, quiet] = 0, step
    dead.requires_grad_()
    shut, opened = (bus(y, edges._replace(weight=w), (), None)[0].inbox for w in (dead, ajar))
    (slope,) = torch.autograd.grad(shut.sum(), dead)
    assert_close(slope[0, quiet] * step, (opened - shut).sum(), rtol=1e-4, atol=0)


@every_layout
def test_an_inactive_edge_with_a_huge_score_changes_no_other_edge(topology):
    y, edges = example(9, topology=topology)
    y[:, 1] *= 1e4
    weight = edges.weight.masked_fill((edges.senders == 1) | (edges.receivers == 1), 0).requires_grad_()
    delivery, _ = build("attention")(y, edges._replace(weight=weight), (), None)
    shares = torch.zeros_like(y[..., 0]).scatter_add(1, edges.receivers, delivery.weights)
    assert_close(shares, torch.ones_like(shares).index_fill(1, torch.tensor([1]), 0))
    (slope,) = torch.autograd.grad(delivery.inbox[:, 2:].sum(), weight)
    assert slope.isfinite().all() and slope.abs().max() < 1e6


@every_layout
@both
def test_gradients_are_finite_where_all_edges_are_inactive(kind, topology):
    y, edges = example(9, topology=topology)
    weight = torch.zeros_like(edges.weight).requires_grad_()
    inbox = build(kind)(y.requires_grad_(), edges._replace(weight=weight), (), None)[0].inbox
    assert not inbox.any()
    assert all(g.isfinite().all() for g in torch.autograd.grad(inbox.sum(), (y, weight)))


def test_parallel_edges_act_as_their_sum_and_split_it_by_weight():
    y = example(3)[0]
    several = nx.MultiDiGraph([(0, 2, {"weight": 1.0}), (0, 2, {"weight": 3.0}), (1, 2, {"weight": 2.0})])
    one = nx.DiGraph([(0, 2, {"weight": 4.0}), (1, 2, {"weight": 2.0})])
    bus = build("attention")
    separate, summed = (bus(y, make_edges(g, 3, 2, y), (), None)[0] for g in (several, one))
    assert_close(separate.inbox, summed.inbox)
    assert_close(separate.weights[:, :2], summed.weights[:, :1] * torch.tensor([0.25, 0.75], dtype=y.dtype))


@pytest.mark.parametrize(
    ("bus", "floats"),
    [(Silent(Y), 0), (Mean(Y, M), 12 * M), (Attention(Y, M, heads=2, key_size=3), 12 * (2 * 3 + M))],
)
def test_each_active_edge_costs_one_message(bus, floats):
    y, edges = example(4)
    delivery, _ = bus.double()(y, edges, (), None)
    assert delivery.num_messages.tolist() == [12 if floats else 0] * 2
    assert delivery.num_floats.tolist() == [floats] * 2
    inactive_first_row = edges.weight.clone()
    inactive_first_row[0] = 0
    delivery, _ = bus(y, edges._replace(weight=inactive_first_row), (), None)
    assert delivery.num_floats.tolist() == [0, floats]


def test_a_silent_bus_may_have_an_inbox_of_a_given_size():
    y, edges = example()
    assert [Silent(Y, m)(y, edges, (), None)[0].inbox.shape[-1] for m in (0, M)] == [0, M]


@both
@every_layout
def test_a_population_of_parameters_runs_under_vmap(kind, topology):
    y, edges = example(9, topology=topology)
    buses = [build(kind, seed) for seed in range(3)]
    stacked, _ = stack_module_state(buses)

    def loss(parameters, bus=buses[0]):
        delivery, _ = functional_call(bus, parameters, (y, edges, (), None))
        return delivery.inbox.square().sum()

    gradients, values = torch.func.vmap(torch.func.grad_and_value(loss))(stacked)
    for i, bus in enumerate(buses):
        value = loss(dict(bus.named_parameters()), bus)
        value.backward()
        assert_close(values[i], value)
        for name, parameter in bus.named_parameters():
            assert_close(gradients[name][i], parameter.grad)


def test_a_delivery_compiles_into_one_graph():
    # in a process of its own, where the shape checks of the test run do not break the graph
    script = """
import networkx
import torch
from comms import Attention, Mean, make_edges
for bus in (Attention(5, 4, heads=2), Mean(5, 4)):
    for topology in ("complete", "ring", "star", networkx.wheel_graph):
        y = torch.randn(2, 9, 5, requires_grad=True)
        args = y, make_edges(topology, 9, 2, y), (), None
        plain, _ = bus(*args)
        fast, _ = torch.compile(bus, fullgraph=True, backend="aot_eager")(*args)
        torch.testing.assert_close(fast, plain)
        gradients = [torch.autograd.grad(d.inbox.square().sum(), y)[0] for d in (fast, plain)]
        torch.testing.assert_close(*gradients)
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(("heads", "message_size"), [(3, 4), (0, 4), (5, 4), (1, 0)])
def test_heads_that_do_not_divide_the_message_are_refused(heads, message_size):
    with pytest.raises(ValueError, match=f"heads={heads}, want a divisor of message_size={message_size}: change"):
        Attention(Y, message_size, heads=heads)
