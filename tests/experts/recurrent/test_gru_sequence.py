"""A GRU over whole sequences of few rows by a kernel equals that by tensor operations."""

import pytest
import torch

from experts import GRU
from experts.kernels.library import description, library, without_kernels
from experts.recurrent.gru_sequence import MAX_ROWS, GRUSequenceFunction

pytestmark = pytest.mark.skipif(library() is None, reason=f"kernels: {description()}")


def build(dtype=torch.double, hidden_size=7):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return GRU(4, hidden_size).to(dtype)


def episode(core, batch=3, members=2, steps=6):
    rng = torch.Generator().manual_seed(0)
    sizes = (steps, batch, members, 4), (batch, members, core.output_size)
    return [torch.randn(size, generator=rng, dtype=core.bias_hh.dtype).requires_grad_() for size in sizes]


def results(core, xs, h, reset):
    ys, (last,) = core.unroll(xs, core.State(h), reset)
    loss = sum((x * torch.linspace(-1, 1, x.numel(), dtype=x.dtype).view(x.shape)).sum() for x in (ys, last))
    return [ys.detach(), last.detach(), *torch.autograd.grad(loss, (xs, h, *core.parameters()))]


@pytest.mark.parametrize("dtype, tolerance", [(torch.double, 1e-12), (torch.float, 1e-5)])
@pytest.mark.parametrize("batch, members, hidden_size", [(3, 2, 7), (1, 1, 33), (7, 1, 1)])
@pytest.mark.parametrize("chance", [None, 0.3, 1.0])
def test_outputs_and_gradients_are_those_of_tensor_operations(batch, members, chance, hidden_size, dtype, tolerance):
    core = build(dtype, hidden_size)
    xs, h = episode(core, batch, members)
    reset = None if chance is None else torch.rand(6, batch, generator=torch.Generator().manual_seed(1)) < chance
    got = results(core, xs, h, reset)
    with without_kernels():
        want = results(core, xs, h, reset)
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def test_the_kernel_is_used_for_few_rows():
    core = build()
    for batch in (MAX_ROWS, MAX_ROWS + 1):
        xs, h = episode(core, batch, 1)
        node = core.unroll(xs, core.State(h))[1].h.grad_fn.next_functions[0][0]
        assert isinstance(node, GRUSequenceFunction._backward_cls) == (batch == MAX_ROWS)


def test_second_derivatives_are_right():
    core = build(hidden_size=2)
    xs, h = episode(core, 1, 2, steps=3)
    reset = torch.tensor([[False], [True], [False]])
    assert torch.autograd.gradgradcheck(lambda xs, h: core.unroll(xs, core.State(h), reset)[0], (xs, h))


def test_gradients_may_be_batched():
    core = build()
    xs, h = episode(core)
    ys = core.unroll(xs, core.State(h))[0]
    directions = torch.stack([torch.ones_like(ys), ys.detach()])
    want = [torch.autograd.grad(ys, xs, grad, retain_graph=True)[0] for grad in directions]
    torch.testing.assert_close(torch.autograd.grad(ys, xs, directions, is_grads_batched=True)[0], torch.stack(want))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_an_input_that_is_not_finite_stays_in_its_row_and_is_gone_after_a_reset(bad):
    core = build()
    xs, h = (x.detach() for x in episode(core))
    h[1, 0, 3] = bad
    reset = torch.zeros(6, 3, dtype=torch.bool)
    reset[4, 1] = True
    ys, _ = core.unroll(xs, core.State(h), reset)
    assert not ys[:4, 1, 0].isfinite().all(-1).any() and ys[4:].isfinite().all()
    assert ys[:, [0, 2]].isfinite().all() and ys[:, 1, 1].isfinite().all()


def test_gradients_are_only_computed_where_they_are_needed():
    core = build().requires_grad_(False)
    xs, h = episode(core)
    got = torch.autograd.grad(core.unroll(xs, core.State(h))[0].square().sum(), xs)
    with without_kernels():
        torch.testing.assert_close(got, torch.autograd.grad(core.unroll(xs, core.State(h))[0].square().sum(), xs))
