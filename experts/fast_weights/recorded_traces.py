"""Backward pass of plastic steps from their recorded outputs: no graph, and no trace of a step is stored.

The inputs of every step are known from the outputs h_t of all steps. The backward pass therefore recomputes the traces
of a few steps at a time from one that was stored, and goes back through these. Networks are outside and steps inside,
a few networks at a time, so that traces and their gradients stay in the cache. Weight gradients are one product over
all steps.

Shapes: T step, S networks, H neurons; the first axis of a trace is that of the presynaptic neurons.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.autograd import Function

from experts.activation_gradients import tanh_backward
from experts.fast_weights import plastic_kernels
from experts.fast_weights.deferred_matmul import BLOCK
from experts.fast_weights.hebbian_rules import DENSE_RULES, DenseRule
from experts.kernels.library import usable
from experts.second_derivatives import first_order_only

CHUNK = 16  # steps whose traces are recomputed at a time


class RecordedSteps(NamedTuple):
    """What is known of plastic steps before the backward pass.

    Args:
        sent: h before each step, 0 where an episode starts.
        received: h after each step.
        rate: plasticity rate of each step and neuron.
        slope: derivative of the rate by the product of h with `direction`; None: the rate does not depend on h.
        reset: networks whose state is reset before a step; None: none.
        trace: trace before the first step.
    """

    sent: Float[Tensor, "T S H"]
    received: Float[Tensor, "T S H"]
    rate: Float[Tensor, "T S _"]
    slope: Float[Tensor, "T S H"] | None
    reset: Bool[Tensor, "T S"] | None
    trace: Float[Tensor, "S H H"]

    def select(self, rows: slice) -> "RecordedSteps":
        """The steps of some networks.

        Args:
            rows: of them.
        """
        *parts, trace = self
        return RecordedSteps(*[None if part is None else part[:, rows] for part in parts], trace[rows])  # type: ignore


class RecordedTracesFunction(Function):
    """The recorded outputs of all steps, with gradients of the projected inputs, w, alpha and the rates.

    (projected inputs, w, alpha, rate, rule, direction, *parts of `RecordedSteps` without the rate) -> outputs
    """

    @staticmethod
    def forward(ctx, x_proj, w, alpha, rate, rule, direction, sent, received, slope, reset, trace):
        ctx.rule = rule
        ctx.save_for_backward(w, alpha, direction, sent, received, rate, slope, reset, trace)
        return received.clone()

    @staticmethod
    @first_order_only("The gradient of recorded steps of Plastic", "Core.unroll has the graph of its steps.")
    def backward(ctx, grad):
        w, alpha, direction, *parts = ctx.saved_tensors
        steps = RecordedSteps(*parts)
        grad_pre, grad_alpha, grad_rate = backward_through_steps(ctx.rule, steps, grad, w, alpha, direction)
        grad_w = steps.sent.flatten(0, 1).mT @ grad_pre.flatten(0, 1)
        return grad_pre, grad_w, grad_alpha, grad_rate, *[None] * 7


def backward_through_steps(
    rule: str,
    steps: RecordedSteps,
    grad: Float[Tensor, "T S H"],
    w: Float[Tensor, "H H"],
    alpha: Float[Tensor, "H H"],
    direction: Float[Tensor, " H"] | None,
) -> tuple[Float[Tensor, "T S H"], Float[Tensor, "H H"], Float[Tensor, "T S _"]]:
    """Gradients of the preactivations, of alpha and of the rates, from those of the outputs.

    Args:
        rule: name of the Hebbian rule.
        steps: the recorded steps.
        grad: gradients of the outputs.
        w: fixed weights.
        alpha: factors of the traces.
        direction: of h, as in `RecordedSteps`.
    """
    grad_pre, grad_rate, grad_alpha = torch.empty_like(grad), torch.empty_like(steps.rate), torch.zeros_like(alpha)
    networks, size = grad.shape[1], len(w)
    if usable(grad, steps.received, w, alpha):
        plastic_kernels.backward(rule == "hebb", steps, grad, w, alpha, direction, (grad_pre, grad_rate, grad_alpha))
        return grad_pre, grad_alpha, grad_rate
    block = max(1, BLOCK // size**2) if grad.device.type == "cpu" else networks
    for start in range(0, networks, block):
        rows = slice(start, start + block)
        parts = steps.select(rows)
        results = grad_pre[:, rows], grad_rate[:, rows], grad_alpha
        _backward_of_block(DENSE_RULES[rule], parts, grad[:, rows], w, alpha, direction, results)
    return grad_pre, grad_alpha, grad_rate


def _backward_of_block(
    rule: DenseRule,
    steps: RecordedSteps,
    grad: Tensor,
    w: Tensor,
    alpha: Tensor,
    direction: Tensor | None,
    results: tuple[Tensor, Tensor, Tensor],
) -> None:
    grad_pre, grad_rate, grad_alpha = results
    num_steps, (sent, received) = len(grad), steps[:2]
    trace, starts = steps.trace, []
    for t in range(num_steps):
        trace = _reset(trace, steps, t)
        if t % CHUNK == 0:
            starts.append(trace)
        if t < (num_steps - 1) // CHUNK * CHUNK:
            trace = rule.update(trace, sent[t], received[t], steps.rate[t])
    grad_trace, grad_h = torch.zeros_like(trace), torch.zeros_like(grad[0])
    for start in reversed(range(0, num_steps, CHUNK)):
        traces = [starts.pop()]
        for t in range(start, min(start + CHUNK, num_steps) - 1):
            updated = rule.update(traces[-1], sent[t], received[t], steps.rate[t])
            traces.append(_reset(updated, steps, t + 1))
        for t in reversed(range(start, start + len(traces))):
            x, y, trace = sent[t], received[t], traces.pop()
            grad_trace, grad_x, grad_y, rates = rule.backward(grad_trace, trace, x, y, steps.rate[t])
            grad_rate[t] = rates if steps.rate.shape[-1] > 1 else rates.sum(-1, keepdim=True)
            grad_y = grad_y + grad[t] + grad_h
            if steps.slope is not None and direction is not None:
                grad_y = torch.addcmul(grad_y, (rates * steps.slope[t]).sum(-1, keepdim=True), direction)
            pre = grad_pre[t] = tanh_backward(grad_y, y)
            weighted = trace * pre.unsqueeze(1)
            grad_alpha += torch.einsum("sij,si->ij", weighted, x)
            grad_x = torch.addmm(grad_x, pre, w.mT).add_((weighted.mul_(alpha)).sum(-1))
            grad_trace += (x.unsqueeze(2) * pre.unsqueeze(1)).mul_(alpha)
            grad_trace, grad_h = _reset(grad_trace, steps, t), _reset(grad_x, steps, t)


def _reset(part: Tensor, steps: RecordedSteps, t: int) -> Tensor:
    """Zeros where an episode starts before step t."""
    if steps.reset is None:
        return part
    return part.masked_fill(steps.reset[t].view(-1, *[1] * (part.dim() - 1)), 0)
