"""Hebbian learning rules for traces of connections: Oja's rule and a clamped Hebb rule (Miconi et al. 2018).

Shapes: S networks, H neurons; the first axis of a trace is that of the presynaptic neurons.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, addcmul
from torch.autograd import Function

from experts.fast_weights.low_rank_sum import LowRankSum

Vector = Float[Tensor, "S 1 H"]


class SaveInputsFunction(Function):
    """An autograd function that saves its inputs and nothing else."""

    generate_vmap_rule = True

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)


class PlasticMatmulFunction(SaveInputsFunction):
    """x (alpha * trace), without saving alpha * trace, as autograd would."""

    @staticmethod
    def forward(x, trace, alpha):
        return x @ (alpha * trace)

    @staticmethod
    def backward(ctx, grad):
        x, trace, alpha = ctx.saved_tensors
        weighted, sent = trace * grad, x.mT
        grad_x = (weighted * alpha).sum(-1).unsqueeze(-2)
        multiply = torch.mul if torch.is_grad_enabled() else Tensor.mul_  # in place, except for second derivatives
        return grad_x, multiply(sent * grad, alpha), multiply(weighted, sent).sum(0)


class ClampedHebbFunction(SaveInputsFunction):
    """clamp(trace_ij + x_i step_j, -1, 1), without saving intermediate results, as autograd would."""

    @staticmethod
    def forward(trace, x, delta):
        return addcmul(trace, x.mT, delta).clamp(-1, 1)  # vmap does not support clamp_

    @staticmethod
    def backward(ctx, grad):
        trace, x, delta = ctx.saved_tensors
        grad = grad * (addcmul(trace, x.mT, delta).abs_() <= 1)  # zero where the sum was clamped
        return grad, delta @ grad.mT, x @ grad


def oja(trace: LowRankSum, x: Vector, y: Vector, rate: Float[Tensor, "S 1 _"]) -> LowRankSum:
    """Oja's rule: trace + rate y (x - y trace), which keeps the trace bounded."""
    delta = rate * y
    return trace.add_outer(x, delta, 1 - delta * y)


def hebb(trace: LowRankSum, x: Vector, y: Vector, rate: Float[Tensor, "S 1 _"]) -> LowRankSum:
    """Clamped Hebb rule: clamp(trace + rate x y, -1, 1), which needs the dense trace in each delta."""
    dense = trace.dense()
    return LowRankSum.from_dense(ClampedHebbFunction.apply(dense.flatten(0, -3), x, rate * y).view(dense.shape))


def plastic_matmul(trace: LowRankSum, x: Vector, alpha: Float[Tensor, "H H"]) -> tuple[Vector, LowRankSum]:
    """As `LowRankSum.matmul`, for a dense trace that changes in each delta."""
    return PlasticMatmulFunction.apply(x, trace.dense().flatten(0, -3), alpha), trace


class HebbianRule(NamedTuple):
    """A Hebbian rule.

    Args:
        read: (trace, x, alpha) -> x (alpha * trace), and the trace.
        update: (trace, x, y, rate) -> the new trace.
    """

    read: Callable[..., tuple[Tensor, LowRankSum]]
    update: Callable[..., LowRankSum]


RULES = {"oja": HebbianRule(LowRankSum.matmul, oja), "hebb": HebbianRule(plastic_matmul, hebb)}


class DenseRule(NamedTuple):
    """A Hebbian rule on a dense trace (S, H, H), for a backward pass written by hand.

    Args:
        update: (trace, x, y, rate) -> the new trace; x, y (S, H), rate (S, H or 1).
        backward: (gradient of the new trace, trace, x, y, rate) -> gradients of trace, x, y and each neuron's rate.
    """

    update: Callable[..., Tensor]
    backward: Callable[..., tuple[Tensor, Tensor, Tensor, Tensor]]


def dense_oja(trace: Tensor, x: Tensor, y: Tensor, rate: Tensor) -> Tensor:
    """Oja's rule on a dense trace."""
    delta = rate * y
    return (trace * (1 - delta * y).unsqueeze(1)).baddbmm_(x.unsqueeze(2), delta.unsqueeze(1))


def dense_oja_backward(
    grad: Tensor, trace: Tensor, x: Tensor, y: Tensor, rate: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Backward pass of `dense_oja`; see `DenseRule`."""
    delta = rate * y
    by_delta, by_keep = (x.unsqueeze(1) @ grad).squeeze(1), (grad * trace).sum(1)
    grad_x = (grad @ delta.unsqueeze(2)).squeeze(2)
    grad_rate = y * torch.addcmul(by_delta, y, by_keep, value=-1)
    grad_y = rate * torch.addcmul(by_delta, y, by_keep, value=-2)
    return grad * (1 - delta * y).unsqueeze(1), grad_x, grad_y, grad_rate


def dense_hebb(trace: Tensor, x: Tensor, y: Tensor, rate: Tensor) -> Tensor:
    """Clamped Hebb rule on a dense trace."""
    return torch.baddbmm(trace, x.unsqueeze(2), (rate * y).unsqueeze(1)).clamp_(-1, 1)


def dense_hebb_backward(
    grad: Tensor, trace: Tensor, x: Tensor, y: Tensor, rate: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Backward pass of `dense_hebb`; see `DenseRule`."""
    delta = (rate * y).unsqueeze(1)
    grad = grad * (torch.baddbmm(trace, x.unsqueeze(2), delta).abs_() <= 1)  # zero where the sum was clamped
    by_delta = (x.unsqueeze(1) @ grad).squeeze(1)
    return grad, (grad @ delta.mT).squeeze(2), rate * by_delta, y * by_delta


DENSE_RULES = {"oja": DenseRule(dense_oja, dense_oja_backward), "hebb": DenseRule(dense_hebb, dense_hebb_backward)}
