"""Gradients of activations against autograd."""

import pytest
import torch

from experts import activation_gradients


@pytest.mark.parametrize(
    "name, of",
    [("sigmoid_backward", torch.sigmoid), ("tanh_backward", torch.tanh), ("softmax_backward", lambda x: x.softmax(-1))],
)
def test_a_written_out_gradient_is_that_of_autograd(name, of):
    x = torch.linspace(-2, 2, 12, dtype=torch.double).view(3, 4).requires_grad_()
    to = torch.linspace(0, 1, 12, dtype=torch.double).view(3, 4)
    y = of(x)
    (want,) = torch.autograd.grad(y, x, to)
    torch.testing.assert_close(getattr(activation_gradients, name)(to, y.detach()), want, rtol=1e-12, atol=1e-14)
