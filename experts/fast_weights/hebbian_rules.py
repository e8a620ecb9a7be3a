"""Rules by which a trace follows what is sent and received together (Miconi et al. 2018).

Shapes: S networks, H neurons; of a trace the first H send, the second receive.
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
    """A function whose gradient is made of its inputs, which are all that is kept."""

    generate_vmap_rule = True

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)


class PlasticMatmulFunction(SaveInputsFunction):
    """x (alpha * trace), each step by itself. Autograd would keep alpha * trace too."""

    @staticmethod
    def forward(x, trace, alpha):
        return x @ (alpha * trace)

    @staticmethod
    def backward(ctx, grad):
        x, trace, alpha = ctx.saved_tensors
        arriving, sent = trace * grad, x.mT
        to_x = (arriving * alpha).sum(-1).unsqueeze(-2)
        times = torch.mul if torch.is_grad_enabled() else Tensor.mul_  # in place, unless differentiated again
        return to_x, times(sent * grad, alpha), times(arriving, sent).sum(0)


class ClampedHebbFunction(SaveInputsFunction):
    """trace_ij + x_i step_j, between -1 and 1. Autograd would keep what is between the two as well."""

    @staticmethod
    def forward(trace, x, step):
        return addcmul(trace, x.mT, step).clamp(-1, 1)  # vmap knows no clamp_

    @staticmethod
    def backward(ctx, grad):
        trace, x, step = ctx.saved_tensors
        grad = grad * (addcmul(trace, x.mT, step).abs_() <= 1)  # of what was clamped there is none
        return grad, step @ grad.mT, x @ grad


def oja(trace: LowRankSum, x: Vector, y: Vector, rate: Float[Tensor, "S 1 _"]) -> LowRankSum:
    """trace + rate y (x - y trace): what is sent and received together is bound, and the trace stays within bounds."""
    step = rate * y
    return trace.add_outer(x, step, 1 - step * y)


def hebb(trace: LowRankSum, x: Vector, y: Vector, rate: Float[Tensor, "S 1 _"]) -> LowRankSum:
    """trace + rate x y, clamped between -1 and 1: which must be multiplied out in each step."""
    dense = trace.dense()
    return LowRankSum.from_dense(ClampedHebbFunction.apply(dense.flatten(0, -3), x, rate * y).view(dense.shape))


def plastic_matmul(trace: LowRankSum, x: Vector, alpha: Float[Tensor, "H H"]) -> tuple[Vector, LowRankSum]:
    """As `LowRankSum.matmul`, of a trace that is another one in the next step."""
    return PlasticMatmulFunction.apply(x, trace.dense().flatten(0, -3), alpha), trace


class HebbianRule(NamedTuple):
    """through: what arrives by the plastic part, of (trace, x, alpha), and the trace. update: the trace after x and y,
    of (trace, x, y, rate)."""

    read: Callable[..., tuple[Tensor, LowRankSum]]
    update: Callable[..., LowRankSum]


RULES = {"oja": HebbianRule(LowRankSum.matmul, oja), "hebb": HebbianRule(plastic_matmul, hebb)}
