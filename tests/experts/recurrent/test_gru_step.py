"""A GRU's step by a kernel equals that by tensor operations."""

import pytest
import torch

from experts import GRU, Core
from experts.kernels.library import description, library, without_kernels
from experts.recurrent.gru_step import GRUStepFunction

pytestmark = pytest.mark.skipif(library() is None, reason=f"kernels: {description()}")


def episode(dtype=torch.double):
    rng = torch.Generator().manual_seed(0)
    return torch.randn(5, 3, 2, 4, generator=rng, dtype=dtype).requires_grad_()


def build(dtype=torch.double, hidden_size=7):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return GRU(4, hidden_size).to(dtype)


def results(core, xs, reset=None):
    ys, _ = Core.unroll(core, xs, core.initial_state(xs[0]), reset)
    loss = (ys * torch.linspace(-1, 1, ys.numel(), dtype=ys.dtype).view(ys.shape)).sum()
    return [ys.detach(), *torch.autograd.grad(loss, (xs, *core.parameters()))]


@pytest.mark.parametrize("dtype, tolerance", [(torch.double, 1e-12), (torch.float, 1e-5)])
@pytest.mark.parametrize("hidden_size", [7, 32])
def test_outputs_and_gradients_are_those_of_tensor_operations(dtype, tolerance, hidden_size):
    core, xs = build(dtype, hidden_size), episode(dtype)
    reset = torch.zeros(5, 3, dtype=torch.bool)
    reset[2, 1] = True
    got = results(core, xs, reset)
    with without_kernels():
        want = results(core, xs, reset)
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def step(core, x, present=None):
    return core(x, core.State(torch.tanh(x @ x.new_ones(4, 7))), present)[0]


def test_second_derivatives_are_right():
    core, x = build(), episode()[0].detach().requires_grad_()
    assert isinstance(step(core, x).grad_fn, GRUStepFunction._backward_cls)
    assert torch.autograd.gradgradcheck(lambda x: step(core, x), (x,))


def test_gradients_may_be_batched():
    core, x = build(), episode()[0].detach().requires_grad_()
    y = step(core, x)
    directions = torch.stack([torch.ones_like(y), y.detach()])
    want = [torch.autograd.grad(y, x, grad, retain_graph=True)[0] for grad in directions]
    torch.testing.assert_close(torch.autograd.grad(y, x, directions, is_grads_batched=True)[0], torch.stack(want))


def test_absent_members_keep_their_state():
    core, x = build(), episode()[0]
    present = torch.tensor([[True, False], [True, True], [False, False]])
    got = step(core, x, present)
    with without_kernels():
        torch.testing.assert_close(got, step(core, x, present))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_state_that_is_not_finite_stays_so(bad):
    core, x = build(), episode()[0]
    h = x.new_zeros(3, 2, 7)
    h[1, 0, 3] = bad
    y, _ = core(x, core.State(h))
    assert not y[1, 0].isfinite().all() and y[[0, 2]].isfinite().all() and y[1, 1].isfinite().all()


def test_gradients_are_only_computed_where_they_are_needed():
    core, x = build().requires_grad_(False), episode()[0].detach().requires_grad_()
    (grad,) = torch.autograd.grad(core(x, core.initial_state(x))[0].sum(), x)
    with without_kernels():
        torch.testing.assert_close(grad, torch.autograd.grad(core(x, core.initial_state(x))[0].sum(), x)[0])
