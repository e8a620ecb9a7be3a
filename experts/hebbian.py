"""Products with a Hebbian trace, each with its gradient written out: no step keeps more of the trace than the trace.

Autograd would keep alpha * trace and what is between the operations too, three to four traces a step. A vector stands
to the left of its matrix, which may be transposed: on a CPU batched products with one to the right take far longer.

Shapes: M networks, H neurons; of a trace (M, H, H) the first H send, the second receive.
"""

from torch import Tensor, addcmul
from torch.autograd import Function
from torch.autograd.function import once_differentiable


class Through(Function):
    """What arrives by the plastic part: h (alpha * trace), (M, H)."""

    generate_vmap_rule = True

    @staticmethod
    def forward(h, trace, alpha):
        return _row(h) @ (alpha * trace)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):  # (M, 1, H)
        h, trace, alpha = ctx.saved_tensors
        arriving, sent = trace * grad, _column(h)
        grad_h = (arriving * alpha).sum(-1)
        return grad_h, (sent * grad).mul_(alpha), arriving.mul_(sent).sum(0)


class Decaying(Function):
    """keep_j trace_ij + x_i step_j"""

    generate_vmap_rule = True

    @staticmethod
    def forward(trace, keep, x, step):
        return addcmul(trace * _row(keep), _column(x), _row(step))

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        trace, keep, x, step = ctx.saved_tensors
        return grad * _row(keep), (grad * trace).sum(-2), *_outer_backward(grad, x, step)


class Clamped(Function):
    """trace_ij + x_i step_j, between -1 and 1."""

    generate_vmap_rule = True

    @staticmethod
    def forward(trace, x, step):
        return addcmul(trace, _column(x), _row(step)).clamp(-1, 1)  # vmap knows no clamp_

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        trace, x, step = ctx.saved_tensors
        grad = grad * (addcmul(trace, _column(x), _row(step)).abs_() <= 1)  # of what was clamped there is none
        return grad, *_outer_backward(grad, x, step)


def oja(trace: Tensor, x: Tensor, y: Tensor, rate: Tensor) -> Tensor:
    """trace + rate y (x - y trace): what is sent and received together is bound, and the trace stays within bounds."""
    step = rate * y
    return Decaying.apply(trace, 1 - step * y, x, step)


def hebb(trace: Tensor, x: Tensor, y: Tensor, rate: Tensor) -> Tensor:
    """trace + rate x y, clamped between -1 and 1."""
    return Clamped.apply(trace, x, rate * y)


def _outer_backward(grad, x, step):
    """The gradients of x and step from that of x_i step_j."""
    return (_row(step) @ grad.mT).squeeze(-2), (_row(x) @ grad).squeeze(-2)


def _row(vector):
    return vector.unsqueeze(-2)


def _column(vector):
    return vector.unsqueeze(-1)
