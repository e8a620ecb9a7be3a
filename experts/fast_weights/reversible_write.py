"""A step of a memory made of fast weights as one function, whose backward pass undoes the write.

Autograd would keep the weights of every step, S x D x D numbers a layer, to carry gradients through them. But a step
changes them by few outer products, which are kept anyway: so backward begins with the last weights, takes away what the
last step wrote, and hands the weights of before to the step before. Every `KEEP_EVERY` steps weights are kept all the same,
so that rounding does not add up.

Steps find each other along the graph of autograd (`_producer`): a state stays a plain value, with valid weights in it.
What does not come from a step directly (a beginning, a state that was cut off, reset, picked from, loaded) is kept.
Where no later step has handed the weights back, for the gradient does not pass it, they are written anew from the last
that were kept.

Shapes: as in `experts.fast_weights.write_rules`.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from experts.fast_weights.write_rules import RULES, FastWeights, activations, write, write_read
from experts.second_derivatives import first_order_only
from experts.torch_internals import functorch_active, made_by, not_compiled, tanh_backward

KEEP_EVERY = 64


def reversible_write_read(
    rule: str, memory: FastWeights, keys: Tensor, targets: Tensor, share: Tensor, queries: Tensor
) -> tuple[FastWeights, Tensor]:
    """As `write_read`. Under torch.func, which knows plain operations only, it is that."""
    if functorch_active() or not torch.is_grad_enabled():
        return write_read(RULES[rule].errors, memory, keys, targets, share, queries)
    return _remembered(rule, memory, keys, targets, share, queries)


@not_compiled
def _remembered(rule: str, memory: FastWeights, *given: Tensor) -> tuple[FastWeights, Tensor]:
    before = _producer([(m.grad_fn, m.output_nr) for m in memory])
    depth = 0 if before is None else before.depth + 1
    *new, recalled = ReversibleWriteFunction.apply(*memory, *given, rule, depth)
    node = recalled.grad_fn
    if node is not None:
        node.memory = tuple(m.detach() for m in new)  # until the next step has begun, which can undo itself
        if before is not None:
            before.memory = None
    return tuple(new), recalled


def _producer(edges: Any) -> Any:
    """The step whose weights these are, or None. Views alone lie between where a store each is folded (`Private`): they
    keep the order of the numbers, so what has the right shape again is the same."""
    nodes: list[Any] = []
    for place, edge in enumerate(edges):
        made = made_by(edge, ReversibleWriteFunction)
        if made is None or made[1] != place or (nodes and made[0] is not nodes[0]):
            return None
        nodes.append(made[0])
    return nodes[0]


class ReversibleWriteFunction(Function):
    @staticmethod
    def forward(ctx, *inputs):
        *given, keys, targets, share, queries, rule, depth = inputs
        memory = tuple(given)
        zs = activations(memory, keys)
        errors = RULES[rule].errors(memory, zs, targets)
        us = activations(new := write(memory, zs, errors, share), queries)
        ctx.rule, ctx.depth, ctx.layers, ctx.memory, ctx.held = rule, depth, len(memory), None, None
        ctx.save_for_backward(share, *zs, *errors, *us[:-1], *(() if depth % KEEP_EVERY else memory))
        return *new, us[-1]

    @staticmethod
    @first_order_only(
        "NeuralMemory, which keeps no weights of earlier steps,",
        "Under torch.func (torch.func.grad of torch.func.grad) it is computed by plain operations, which have them.",
    )
    def backward(ctx, *grads):
        *to_memory, to_recalled = grads
        new, (share, zs, errors, us, old) = _weights(ctx), _saved(ctx)
        to_memory, to_queries = _read_backward(new, us, to_memory, to_recalled)
        old = old or write(new, zs, errors, -share)
        before = _producer(ctx.next_functions[: ctx.layers])
        if before is not None:
            before.memory = old
        ctx.memory = ctx.held = None
        to_errors, to_zs, to_share = [], [], torch.zeros_like(share)
        for z, error, to_m in zip(zs, errors, to_memory, strict=False):
            to_delta = -(z @ to_m.mT)
            to_share = to_share + (to_delta * error).sum(-1, keepdim=True)
            to_errors.append(share * to_delta)
            to_zs.append(-(share * error) @ to_m)
        to_zs.append(torch.zeros_like(zs[-1]))
        to_targets = RULES[ctx.rule].backward(old, zs, errors, to_errors, to_zs, to_memory)
        to_keys = to_zs[-1]
        for i in reversed(range(len(old))):
            to_memory[i].baddbmm_(to_keys.mT, zs[i])
            to_keys = torch.baddbmm(to_zs[i], to_keys, old[i])
            to_keys = tanh_backward(to_keys, zs[i]) if i else to_keys
        return *to_memory, to_keys, to_targets, to_share, to_queries, None, None


def _read_backward(
    memory: FastWeights, us: list[Tensor], to_memory: list[Tensor], grad: Tensor
) -> tuple[list[Tensor], Tensor]:
    """Gradients of the weights after the step, with the read's part, in tensors of their own; and of the queries."""
    summed = list(to_memory)
    for i in reversed(range(len(memory))):
        summed[i] = torch.baddbmm(to_memory[i], grad.mT, us[i])
        grad = grad @ memory[i]
        grad = tanh_backward(grad, us[i]) if i else grad
    return summed, grad


def _saved(node: Any) -> tuple[Tensor, list[Tensor], list[Tensor], list[Tensor], FastWeights]:
    """What a step has saved: share, zs, errors, us, and the weights of before if they were kept. A checkpoint gives
    each of them once."""
    if node.held is None:
        share, *rest = node.saved_tensors
        n = node.layers
        node.held = share, rest[: n + 1], rest[n + 1 : 2 * n + 1], rest[2 * n + 1 : 3 * n + 1], tuple(rest[3 * n + 1 :])
    return node.held


def _weights(node: Any) -> FastWeights:
    """After a step: as handed back, or written anew from the last that were kept."""
    steps = []
    while node.memory is None:
        steps.append(_saved(node))
        if steps[-1][-1]:
            memory = steps[-1][-1]
            break
        node = _producer(node.next_functions[: node.layers])
    else:
        memory = node.memory
    for share, zs, errors, *_ in reversed(steps):
        memory = write(memory, zs, errors, share)
    return memory
