"""A round of attention by a kernel equals that by tensor operations."""

import pytest
import torch

from comms import Attention, make_edges
from comms.attention_step import AttentionStepFunction
from experts.kernels.library import description, library, without_kernels

pytestmark = pytest.mark.skipif(library() is None, reason=f"kernels: {description()}")


def build(dtype=torch.double, heads=2, key_size=5, value_size=3):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Attention(7, heads * value_size, heads=heads, key_size=key_size).to(dtype)


def outputs(experts, dtype=torch.double, batch=3):
    return torch.randn(batch, experts, 7, generator=torch.Generator().manual_seed(0), dtype=dtype).requires_grad_()


def results(bus, y, edges):
    delivery, _ = bus(y, edges, (), None)
    parts = delivery.inbox, delivery.weights
    loss = sum((x * torch.linspace(-1, 1, x.numel(), dtype=x.dtype).view(x.shape)).sum() for x in parts)
    return [*(x.detach() for x in parts), *torch.autograd.grad(loss, (y, *bus.parameters()))]


@pytest.mark.parametrize("dtype, tolerance", [(torch.double, 1e-12), (torch.float, 1e-5)])
@pytest.mark.parametrize("topology", ["complete", "small_world", "ring_lattice"])
@pytest.mark.parametrize("experts, sizes", [(2, (1, 1, 1)), (9, (2, 5, 3)), (20, (4, 16, 16)), (11, (1, 33, 9))])
def test_deliveries_and_gradients_are_those_of_tensor_operations(experts, sizes, topology, dtype, tolerance):
    bus, y = build(dtype, *sizes), outputs(experts, dtype)
    edges = make_edges(topology, experts, 3, y)
    got = results(bus, y, edges)
    with without_kernels():
        want = results(bus, y, edges)
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def test_weights_of_edges_may_differ_between_episodes():
    bus, y = build(), outputs(6)
    edges = make_edges("complete", 6, 3, y)
    weight = 0.1 + torch.rand(edges.weight.shape, generator=torch.Generator().manual_seed(1), dtype=y.dtype)
    pairs = torch.zeros(3, 36, dtype=y.dtype).scatter(1, edges.layout_index, weight)
    edges = edges._replace(weight=weight, log_weight=pairs.log().view(3, 1, 6, 6), log_weight_source=weight)
    got = results(bus, y, edges)
    with without_kernels():
        want = results(bus, y, edges)
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


def test_the_kernel_is_used():
    bus, y = build(), outputs(4)
    delivery, _ = bus(y, make_edges("complete", 4, 3, y), (), None)
    assert isinstance(delivery.inbox.grad_fn, AttentionStepFunction._backward_cls)


def test_second_derivatives_are_right():
    bus, y = build(), outputs(3, batch=1)
    edges = make_edges("complete", 3, 1, y)
    assert torch.autograd.gradgradcheck(lambda y: bus(y, edges, (), None)[0][:2], (y,))


def test_gradients_may_be_batched():
    bus, y = build(), outputs(3)
    inbox = bus(y, make_edges("complete", 3, 3, y), (), None)[0].inbox
    directions = torch.stack([torch.ones_like(inbox), inbox.detach()])
    want = [torch.autograd.grad(inbox, y, grad, retain_graph=True)[0] for grad in directions]
    torch.testing.assert_close(torch.autograd.grad(inbox, y, directions, is_grads_batched=True)[0], torch.stack(want))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_an_output_that_is_not_finite_stays_in_its_episode(bad):
    bus, y = build(), outputs(4).detach()
    y[1, 2, 3] = bad
    inbox = bus(y, make_edges("complete", 4, 3, y), (), None)[0].inbox
    assert not inbox[1].isfinite().any() and inbox[[0, 2]].isfinite().all()


def test_gradients_are_only_computed_where_they_are_needed():
    bus, y = build().requires_grad_(False), outputs(4)
    edges = make_edges("complete", 4, 3, y)
    (got,) = torch.autograd.grad(bus(y, edges, (), None)[0].weights.square().sum(), y)
    with without_kernels():
        torch.testing.assert_close(got, torch.autograd.grad(bus(y, edges, (), None)[0].weights.square().sum(), y)[0])
