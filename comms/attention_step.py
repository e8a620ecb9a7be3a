"""One round of attention among few experts as one autograd function, with a kernel in C.

The projection to queries, keys and values is one matrix product of torch. The kernel then computes scores, softmax and
inboxes of an episode and head at a time, without copies by head. The only file of this package that imports kernels.

Shapes: B episode, E expert, K edge, Y output, H head, C = H * (2 * key size + value size), queries, keys and values.
"""

import ctypes
from functools import partial
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import Function
from torch.nn.functional import linear

from comms.topology import Edges, is_dense, is_unmodified
from experts.kernels.library import addresses, kernel, usable
from experts.second_derivatives import differentiable_gradients
from experts.torch_internals import is_batched

MAX_SIZE = 64
"""Largest number of experts, and largest key and value, for the kernel. Above, torch's matrix products are faster."""

TENSORS = (
    "index", "log_weight", "projected", "inbox", "weights", "edge_weights", "grad_inbox", "grad_edge_weights",
    "grad_projected",
)  # fmt: skip


class AllPairs(ctypes.Structure):
    """The struct of the same name of all_pairs.h."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("batch", "experts", "heads", "key_size", "value_size", "edges")),
        *((name, ctypes.c_int64) for name in ("index_step", "log_weight_step")),
        ("scale", ctypes.c_double),
        *((name, ctypes.c_void_p) for name in TENSORS),
    )


class Heads(NamedTuple):
    """Number of heads, and the sizes of a key and of a value."""

    number: int
    key_size: int
    value_size: int

    @property
    def columns(self) -> list[int]:
        """Columns of queries, keys and values."""
        return [self.number * self.key_size, self.number * self.key_size, self.number * self.value_size]


def supported(y: Tensor, edges: Edges, heads: Heads, *parameters: Tensor) -> bool:
    """Whether the kernel computes a round: unmodified edges of a dense regular graph, few experts, on the CPU.

    Args:
        y: the outputs of all experts (B, E, Y).
        edges: the communication graph.
        heads: sizes of the attention.
        parameters: weight and bias of the projection.
    """
    experts = y.shape[1]
    return (
        is_unmodified(edges)
        and edges.log_weight is not None
        and is_dense(experts, edges.weight.shape[1])
        and max(experts, heads.key_size, heads.value_size) <= MAX_SIZE
        and usable(y, edges.log_weight, *parameters)
        and not torch.is_autocast_enabled("cpu")
        and y.numel() > 0
    )


def plain_attention(
    y: Tensor, weight: Tensor, bias: Tensor, log_weight: Tensor, index: Tensor, heads: Heads
) -> tuple[Tensor, Tensor]:
    """Inbox (B, E, H V) and weights of the edges (B, K) by tensor operations.

    Args:
        y: the outputs of all experts (B, E, Y).
        weight: of the projection (C, Y).
        bias: of the projection (C,).
        log_weight: of each pair (B, 1, sender, receiver).
        index: of each edge among the pairs (B, K).
        heads: sizes of the attention.
    """
    parts = linear(y, weight, bias).split(heads.columns, -1)
    query, key, value = (part.unflatten(-1, (heads.number, -1)).transpose(1, 2) for part in parts)  # (B, H, E, .)
    weights = (key @ query.mT * heads.key_size**-0.5 + log_weight).softmax(2)  # (B, H, sender, receiver)
    inbox = (weights.mT @ value).transpose(1, 2).flatten(2)
    return inbox, weights.mean(1).flatten(1).gather(1, index)


class AttentionStepFunction(Function):
    """(y, weight, bias, log_weight, index, heads) -> inbox and weights of the edges, equal to `plain_attention`."""

    @staticmethod
    def forward(
        ctx: Any, y: Tensor, weight: Tensor, bias: Tensor, log_weight: Tensor, index: Tensor, heads: Heads
    ) -> tuple[Tensor, Tensor]:
        (batch, experts, _), (number, _, value_size) = y.shape, heads
        flat_y = y.flatten(0, 1)
        projected = torch.addmm(bias, flat_y, weight.t())
        inbox = y.new_empty(batch, experts, number * value_size)
        weights = y.new_empty(batch, number, experts, experts)
        edge_weights = y.new_empty(index.shape)
        _run("all_pairs", y, heads, log_weight, index, (projected, inbox, weights, edge_weights))
        ctx.set_materialize_grads(False)
        ctx.heads = heads
        ctx.save_for_backward(y, weight, bias, log_weight, index, projected, weights)
        return inbox, edge_weights

    @staticmethod
    def backward(ctx: Any, grad_inbox: Tensor | None, grad_edge_weights: Tensor | None) -> tuple[Tensor | None, ...]:
        *inputs, projected, weights = ctx.saved_tensors
        grads = grad_inbox, grad_edge_weights
        if torch.is_grad_enabled() or any(grad is not None and is_batched(grad) for grad in grads):
            return *differentiable_gradients(partial(plain_attention, heads=ctx.heads), inputs, grads), None
        if grad_inbox is None and grad_edge_weights is None:
            return (None,) * 6
        y, weight, _, log_weight, index = inputs
        if grad_inbox is None:
            grad_inbox = y.new_zeros(*y.shape[:2], ctx.heads.number * ctx.heads.value_size)
        if grad_edge_weights is not None:
            grad_edge_weights = grad_edge_weights.contiguous()
        to_projected = torch.empty_like(projected)
        tensors = projected, None, weights, None, grad_inbox.contiguous(), grad_edge_weights, to_projected
        _run("all_pairs_backward", y, ctx.heads, log_weight, index, tensors)
        needed = ctx.needs_input_grad
        return (
            (to_projected @ weight).view(y.shape) if needed[0] else None,
            (y.flatten(0, 1).t() @ to_projected).t() if needed[1] else None,
            to_projected.sum(0) if needed[2] else None,
            None,
            None,
            None,
        )


def _run(
    name: str, y: Tensor, heads: Heads, log_weight: Tensor, index: Tensor, tensors: tuple[Tensor | None, ...]
) -> None:
    (log_weight, log_weight_step), (index, index_step) = _without_copies(log_weight), _without_copies(index)
    sizes = *y.shape[:2], *heads, index.shape[-1], index_step, log_weight_step
    arguments = AllPairs(*sizes, heads.key_size**-0.5, *addresses((index, log_weight, *tensors)))
    kernel(name, y.dtype, ctypes.POINTER(AllPairs))(arguments)


def _without_copies(x: Tensor) -> tuple[Tensor, int]:
    """A contiguous tensor, and its numbers from an episode to the next: 0 where all episodes share one."""
    if len(x) > 1 and x.stride(0):
        return x.contiguous(), x[0].numel()
    return x[0].contiguous(), 0


def attention_step(
    y: Float[Tensor, "B E Y"], edges: Edges, heads: Heads, weight: Tensor, bias: Tensor
) -> tuple[Float[Tensor, "B E HV"], Float[Tensor, "B K"]] | None:
    """Inboxes and the weights of the edges, or None where the kernel does not apply.

    Args:
        y: the outputs of all experts.
        edges: the communication graph.
        heads: sizes of the attention.
        weight: of the projection to queries, keys and values (C, Y).
        bias: of the projection (C,).
    """
    if not supported(y, edges, heads, weight, bias):
        return None
    return AttentionStepFunction.apply(y, weight, bias, edges.log_weight, edges.layout_index, heads)
