"""Reversible backpropagation through the writes of a fast-weight memory.

Autograd would save the weights of every step, S x D x D numbers a layer. A step changes them by a few outer products,
which are saved in any case. The backward pass therefore starts with the last weights, subtracts the last write, and
passes the restored weights to the previous step. Every `KEEP_EVERY` steps the weights are saved, to bound the
accumulated rounding error. The idea is that of reversible networks (Gomez et al. 2017, arXiv:1707.04585).

A step finds the previous one in autograd's graph (`_producer`), so the state remains a plain value with valid weights.
Weights that are not the output of a step (initial, detached, reset, indexed or loaded) are saved. Where no later step
has restored the weights, as no gradient passes through it, they are recomputed from the last saved ones.

Shapes: as in `experts.fast_weights.write_rules`.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from experts.activation_gradients import tanh_backward
from experts.fast_weights.write_rules import RULES, FastWeights, activations, write, write_read
from experts.second_derivatives import first_order_only
from experts.torch_internals import functorch_active, made_by, not_compiled

KEEP_EVERY = 64


def reversible_write_read(
    rule: str, memory: FastWeights, keys: Tensor, targets: Tensor, write_rate: Tensor, queries: Tensor
) -> tuple[FastWeights, Tensor]:
    """As `write_read`, with reversible backpropagation; under torch.func and without gradients by plain operations."""
    if functorch_active() or not torch.is_grad_enabled():
        return write_read(RULES[rule].errors, memory, keys, targets, write_rate, queries)
    return _apply(rule, memory, keys, targets, write_rate, queries)


@not_compiled
def _apply(rule: str, memory: FastWeights, *tensors: Tensor) -> tuple[FastWeights, Tensor]:
    previous = _producer([(m.grad_fn, m.output_nr) for m in memory])
    depth = 0 if previous is None else previous.depth + 1
    *new, read = ReversibleWriteFunction.apply(*memory, *tensors, rule, depth)
    node = read.grad_fn
    if node is not None:
        node.memory = tuple(m.detach() for m in new)  # until the next step, which can restore these weights
        if previous is not None:
            previous.memory = None
    return tuple(new), read


def _producer(edges: Any) -> Any:
    """The autograd node of the step that returned these weights, or None.

    Only views by `Private`, which folds members into the batch, may lie between; they keep the order of the numbers.
    """
    nodes: list[Any] = []
    for layer, edge in enumerate(edges):
        producer = made_by(edge, ReversibleWriteFunction)
        if producer is None or producer[1] != layer or (nodes and producer[0] is not nodes[0]):
            return None
        nodes.append(producer[0])
    return nodes[0]


class ReversibleWriteFunction(Function):
    """`write_read` as one autograd function whose backward pass restores the weights before the write."""

    @staticmethod
    def forward(ctx, *inputs):
        *layers, keys, targets, write_rate, queries, rule, depth = inputs
        memory = tuple(layers)
        acts = activations(memory, keys)
        errors = RULES[rule].errors(memory, acts, targets)
        query_acts = activations(new := write(memory, acts, errors, write_rate), queries)
        ctx.rule, ctx.depth, ctx.layers, ctx.memory, ctx.saved = rule, depth, len(memory), None, None
        ctx.save_for_backward(write_rate, *acts, *errors, *query_acts[:-1], *(() if depth % KEEP_EVERY else memory))
        return *new, query_acts[-1]

    @staticmethod
    @first_order_only(
        "NeuralMemory, which saves no weights of earlier steps,",
        "Under torch.func (torch.func.grad of torch.func.grad) it is computed by plain operations, which have them.",
    )
    def backward(ctx, *grads):
        *grad_memory, grad_read = grads
        new, (write_rate, acts, errors, query_acts, old) = _weights(ctx), _saved(ctx)
        grad_memory, grad_queries = _read_backward(new, query_acts, grad_memory, grad_read)
        old = old or write(new, acts, errors, -write_rate)
        previous = _producer(ctx.next_functions[: ctx.layers])
        if previous is not None:
            previous.memory = old
        ctx.memory = ctx.saved = None
        grad_errors, grad_acts, grad_rate = [], [], torch.zeros_like(write_rate)
        for z, error, grad_m in zip(acts, errors, grad_memory, strict=False):
            grad_delta = -(z @ grad_m.mT)
            grad_rate = grad_rate + (grad_delta * error).sum(-1, keepdim=True)
            grad_errors.append(write_rate * grad_delta)
            grad_acts.append(-(write_rate * error) @ grad_m)
        grad_acts.append(torch.zeros_like(acts[-1]))
        grad_targets = RULES[ctx.rule].backward(old, acts, errors, grad_errors, grad_acts, grad_memory)
        grad_keys = grad_acts[-1]
        for i in reversed(range(len(old))):
            grad_memory[i].baddbmm_(grad_keys.mT, acts[i])
            grad_keys = torch.baddbmm(grad_acts[i], grad_keys, old[i])
            grad_keys = tanh_backward(grad_keys, acts[i]) if i else grad_keys
        return *grad_memory, grad_keys, grad_targets, grad_rate, grad_queries, None, None


def _read_backward(
    memory: FastWeights, query_acts: list[Tensor], grad_memory: list[Tensor], grad: Tensor
) -> tuple[list[Tensor], Tensor]:
    """Gradients of the weights after the step, in new tensors, and of the queries."""
    summed = list(grad_memory)
    for i in reversed(range(len(memory))):
        summed[i] = torch.baddbmm(grad_memory[i], grad.mT, query_acts[i])
        grad = grad @ memory[i]
        grad = tanh_backward(grad, query_acts[i]) if i else grad
    return summed, grad


def _saved(node: Any) -> tuple[Tensor, list[Tensor], list[Tensor], list[Tensor], FastWeights]:
    """The saved tensors of a step: rates, activations, errors, activations of queries, and old weights if saved.

    They are cached, as checkpointing returns saved tensors only once.
    """
    if node.saved is None:
        write_rate, *rest = node.saved_tensors
        n = node.layers
        node.saved = (
            write_rate,
            rest[: n + 1],
            rest[n + 1 : 2 * n + 1],
            rest[2 * n + 1 : 3 * n + 1],
            tuple(rest[3 * n + 1 :]),
        )
    return node.saved


def _weights(node: Any) -> FastWeights:
    """The weights after a step: restored by the next step, or recomputed from the last saved ones."""
    steps = []
    while node.memory is None:
        steps.append(_saved(node))
        if steps[-1][-1]:
            memory = steps[-1][-1]
            break
        node = _producer(node.next_functions[: node.layers])
    else:
        memory = node.memory
    for write_rate, acts, errors, *_ in reversed(steps):
        memory = write(memory, acts, errors, write_rate)
    return memory
