"""Rules by which a trace follows what is sent and received together (Miconi et al. 2018).

Shapes: S networks, H neurons; of a trace the first H send, the second receive.
"""

from jaxtyping import Float
from torch import Tensor, addcmul
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from experts.outer_sum import OuterSum

Vector = Float[Tensor, "S 1 H"]


class Clamped(Function):
    """trace_ij + x_i step_j, between -1 and 1. Autograd would keep what is between the two as well."""

    generate_vmap_rule = True

    @staticmethod
    def forward(trace, x, step):
        return addcmul(trace, x.mT, step).clamp(-1, 1)  # vmap knows no clamp_

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        trace, x, step = ctx.saved_tensors
        grad = grad * (addcmul(trace, x.mT, step).abs_() <= 1)  # of what was clamped there is none
        return grad, step @ grad.mT, x @ grad


def oja(trace: OuterSum, x: Vector, y: Vector, rate: Float[Tensor, "S 1 _"]) -> OuterSum:
    """trace + rate y (x - y trace): what is sent and received together is bound, and the trace stays within bounds."""
    step = rate * y
    return trace.then(x, step, 1 - step * y)


def hebb(trace: OuterSum, x: Vector, y: Vector, rate: Float[Tensor, "S 1 _"]) -> OuterSum:
    """trace + rate x y, clamped between -1 and 1: which must be multiplied out in each step."""
    dense = trace.dense()
    return OuterSum.of(Clamped.apply(dense.flatten(0, -3), x, rate * y).view(dense.shape))
