"""Steps of an episodic memory around a GRU by kernels in C, and matrix products of torch, as one autograd function.

It computes the same as `experts.episodic.fused_step`, which is used wherever `supported` says no. A step is four calls:
the products with the hidden state, a kernel that writes and reads, the products with the read vector, and a kernel for
the gates. The backward pass mirrors them. What a step saves is the same as there, in one tensor for all steps.

Shapes: T step, B episode, S stores, N members, D input, H hidden, G = 3 H gates, K key, V value, k rows read,
P = 2 K + G products, in the order key, query, gates.
"""

import ctypes
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from experts.episodic.fused_step import FusedConfig, FusedStepFunction, FusedWeights
from experts.episodic.kernel_arguments import ARGUMENTS, SAVED, WEIGHTINGS, Sizes
from experts.episodic.row_log import PendingRows, RowLog
from experts.episodic.row_log_autograd import owned_grad, rows_written_in_place
from experts.episodic.top_k_read import TopKRows
from experts.kernels.library import addresses, kernel, usable
from experts.recurrent.gru import GRU
from experts.torch_internals import is_batched

MAX_SELECTED = 64
"""Most rows that a kernel selects out of more: its search is quick for few."""


MAX_SLOTS = 1 << 14
"""Most slots of a store: torch searches larger ones for all members at once, and with threads."""

POINTERS = ctypes.c_void_p * 8
"""Addresses of the parameters, or of their gradients."""


def supported(config: FusedConfig, weights: FusedWeights, log: RowLog, h: Tensor, x: Tensor) -> bool:
    """Whether the kernels compute these steps: on the CPU, around a GRU, with uncompressed values, in one dtype.

    They check nothing, so sizes that do not fit are left to tensor operations, which raise.

    Args:
        config: static options.
        weights: parameters of memory and cell.
        log: the store.
        h: the hidden state.
        x: inputs.
    """
    size = h.shape[-1]
    return (
        usable(x, h, log.store.keys, *weights[:8])
        and config.cell is GRU
        and weights.compress is None
        and config.attend.weighting in WEIGHTINGS
        and log.slots <= MAX_SLOTS
        and (config.attend.top_k <= MAX_SELECTED or config.attend.top_k >= log.slots)
        and h.shape[:-1] == x.shape[-3:-1]
        and len(log.store.keys) == len(h)
        and weights.key.shape[-1] == x.shape[-1] + size
        and weights.gates_h.shape == (3 * size, size)
        and not torch.is_autocast_enabled("cpu")
    )


class KernelStepFunction(Function):
    """Several steps by kernels as one autograd function.

    (storage, handles, pending rows, x, h, ...) -> (rows, handles, indices and weights of the last read, hidden states)

    Inputs: keys and values, the storages of the log, and their handles; key and value, the pending rows (S, n, .);
    x (T, B, N, D), or (B, N, D) for one step; h (B, N, H); starts (T, S) and valid_rows (S, C), or None where all rows
    are valid; same_episode (T, S N, 1): no reset before the step, or None for all; a `FusedConfig`; the first eight of
    `FusedWeights`. The hidden states of all steps have the axes of x.
    """

    @staticmethod
    def forward(ctx, keys, values, _, __, key, value, x, h, starts, valid_rows, same_episode, config, *parameters):
        weights, spans, storage = FusedWeights(*parameters, None), config.spans, (keys, values)
        size, members, hidden = keys.shape[-1], (keys.shape[0], x.shape[-2]), h.shape[-1]
        window = max(span.end - span.window_start for span in spans)
        top_k = min(config.attend.top_k, window)
        rows = members[0] * members[1]
        sizes = Sizes(len(spans), rows, x.shape[-1], hidden, size, values.shape[-1], top_k)
        xs = x.reshape(-1, sizes.inputs).contiguous()  # a slice of a batch may be a view with gaps
        first_h = h.reshape(rows, hidden).contiguous()
        weights_x, weights_h, bias = _stack(sizes, weights)
        x_products = torch.addmm(bias, xs, weights_x.t())
        saved, read_weights = keys.new_empty(sizes.saved[-1]), keys.new_empty(sizes.steps, *members, top_k)
        index = torch.empty(sizes.steps, *members, top_k, dtype=torch.long)
        hs = x.new_empty(*x.shape[:-1], hidden)
        after, reads = hs.view(sizes.steps, rows, hidden), sizes.part(saved, "read")
        masked_h, zero = None if same_episode is None else torch.empty_like(after), keys.new_zeros(())
        h_products, read_products = keys.new_empty(rows, sizes.products), keys.new_empty(rows, 3 * hidden)
        scratch, key, value = keys.new_empty(window), key.contiguous(), value.contiguous()
        valid_rows = None if starts is None else valid_rows
        shared = [first_h, masked_h, after, index, read_weights]
        forward = [
            starts,
            valid_rows,
            xs,
            x_products,
            h_products,
            read_products,
            weights.bias_h.contiguous(),
            key,
            value,
        ]
        step = sizes.struct(config, storage, shared, saved, scratch, forward, [])
        read, gru = (kernel(name, keys.dtype, *ARGUMENTS) for name in ("episodic_read", "episodic_gru"))
        old, of_h, of_m = first_h, weights_h.t(), weights.gates_x[:, sizes.inputs :].t()
        for t in range(sizes.steps):
            if masked_h is not None:
                old = torch.where(same_episode[t], old, zero, out=masked_h[t])
            if t:
                torch.mm(old, of_h, out=h_products)
            else:  # the key of the pending rows is known
                torch.mm(old, of_h[:, size:], out=h_products[:, size:])
            read(step, t)
            torch.mm(reads[t], of_m, out=read_products)
            gru(step, t)
            old = after[t]
        key = torch.addmm(x_products[-rows:, :size], old, of_h[:, :size]).view(*members, size)
        value = config.value(xs[-rows:], old).view(*members, sizes.value)
        # the storage is not saved: the version check would refuse the rows that later steps append
        ctx.storage, ctx.config, ctx.sizes = storage, config, sizes
        ctx.save_for_backward(
            xs, first_h, hs, masked_h, same_episode, weights_x, weights_h, weights.gates_x, saved, index, read_weights
        )
        count = min(top_k, spans[-1].end - spans[-1].window_start)
        last_index, last_weights = index[-1, ..., :count], read_weights[-1, ..., :count]
        ctx.mark_non_differentiable(last_index, last_weights)
        ctx.set_materialize_grads(False)
        return key, value, zero.expand(keys.shape), zero.expand(values.shape), last_index, last_weights, hs

    @staticmethod
    @rows_written_in_place
    def backward(ctx, grad_key, grad_value, grad_keys, grad_values, _, __, grad_hs):
        if any(
            grad is not None and is_batched(grad) for grad in (grad_key, grad_value, grad_keys, grad_values, grad_hs)
        ):
            return _backward_by_tensors(ctx, grad_key, grad_value, grad_keys, grad_values, grad_hs)
        sizes, config, storage = ctx.sizes, ctx.config, ctx.storage
        xs, first_h, hs, masked_h, same_episode, weights_x, weights_h, gates_x, saved, *selection = ctx.saved_tensors
        size, after = sizes.key, hs.view(sizes.steps, sizes.rows, -1)
        columns = tuple(map(owned_grad, (grad_keys, grad_values), storage, storage))
        inputs, products = (saved.new_empty(sizes.steps, sizes.rows, sizes.products) for _ in range(2))
        key_part, from_key = inputs[-1, :, :size], slice(size if config.detach else 0, None)
        if grad_key is None:
            key_part.zero_()
        else:
            key_part.copy_(grad_key.reshape(sizes.rows, size))
        reaches_h = grad_key is not None and not config.detach
        carry = key_part @ weights_h[:size] if reaches_h else torch.zeros_like(first_h)
        grad_read, scratch = saved.new_empty(sizes.rows, sizes.value), saved.new_empty(sizes.top_k)
        grad_hs, grad_value = (None if grad is None else grad.contiguous() for grad in (grad_hs, grad_value))
        shared = [first_h, masked_h, after, *selection]
        backward = [grad_hs, grad_value, grad_read, *columns, carry, inputs, products]
        step = sizes.struct(config, storage, shared, saved, scratch, [], backward)
        read = kernel("episodic_read_backward", saved.dtype, *ARGUMENTS)
        gru = kernel("episodic_gru_backward", saved.dtype, *ARGUMENTS, ctypes.c_int64)
        weights_m, of_products, last = gates_x[:, sizes.inputs :], weights_h[from_key], sizes.steps - 1
        for t in range(last, -1, -1):
            if t < last:
                carry.addmm_(products[t + 1, :, from_key], of_products)
                if same_episode is not None:
                    carry.masked_fill_(~same_episode[t + 1], 0)
            gru(step, t, t == last)
            torch.mm(inputs[t, :, 2 * size :], weights_m, out=grad_read)
            read(step, t)
        carry.addmm_(products[0, :, size:], weights_h[size:])
        if same_episode is not None:
            carry.masked_fill_(~same_episode[0], 0)
        span, spans = config.spans[0], config.spans
        to_key, to_value = (column.narrow(1, span.write_start, span.end - span.write_start) for column in columns)
        to_x = None
        if ctx.needs_input_grad[6]:
            flat = inputs.flatten(0, 1)
            to_x = (flat[:, from_key] @ weights_x[from_key]).view(*hs.shape[:-1], -1)
            if not config.detach and config.row_content != "h":
                steps_x, width = to_x.view(sizes.steps, len(storage[0]), -1, sizes.inputs), sizes.inputs
                if last:
                    written = columns[1][:, spans[1].write_start : spans[-1].end, :width]
                    steps_x[:-1] += written.unflatten(1, (last, -1)).transpose(0, 1)
                if grad_value is not None:
                    steps_x[-1] += grad_value[..., :width]
        reads = sizes.part(saved, "read")
        to_weights = _weight_gradients(sizes, inputs, products, xs, first_h, after, masked_h, reads)
        return None, None, *columns, to_key, to_value, to_x, carry.view(*hs.shape[-3:]), *[None] * 4, *to_weights


def _backward_by_tensors(
    ctx: Any, grad_key: Any, grad_value: Any, grad_keys: Any, grad_values: Any, grad_hs: Any
) -> Any:
    """The backward pass of `KernelStepFunction` by tensor operations."""
    sizes, config, (keys, values) = ctx.sizes, ctx.config, ctx.storage
    xs, first_h, hs, _, same_episode, weights_x, weights_h, gates_x, saved, index, read_weights = ctx.saved_tensors
    cache, (queries, *parts) = [], (sizes.part(saved, name) for name in SAVED)
    for t, span in enumerate(config.spans):
        count = min(sizes.top_k, span.end - span.window_start)
        selected, weights = index[t, ..., :count], read_weights[t, ..., :count]
        query, scores = queries[t].view(*index.shape[1:3], -1), weights
        if config.attend.distance:
            rows = TopKRows(selected, span.window_start, span.end, keys.shape[1], True)
            scores = -(query.unsqueeze(-2) - rows.gather(keys)).square().sum(-1)
        cache += [query, parts[0][t], selected, scores, weights, *(part[t] for part in parts[1:])]
    states = hs.view(sizes.steps, sizes.rows, -1).unbind()
    tensors = xs.view(sizes.steps, sizes.rows, -1), same_episode, weights_x, weights_h, gates_x, None
    fused = SimpleNamespace(
        config=config, keys=keys, values=values, partial=True, width=sizes.inputs,
        needs_input_grad=ctx.needs_input_grad, saved_tensors=(*tensors, first_h, *states, *cache),
    )  # fmt: skip
    grads = [None] * sizes.steps if grad_hs is None else grad_hs.reshape(sizes.steps, sizes.rows, -1).unbind()
    found = FusedStepFunction.backward(fused, grad_key, grad_value, grad_keys, grad_values, None, None, *grads)
    to_x = None if found[6] is None else found[6].view(*hs.shape[:-1], -1)
    return *found[:6], to_x, found[20].view(*hs.shape[-3:]), *[None] * 4, *found[11:19]


def _stack(sizes: Sizes, weights: FusedWeights) -> tuple[Tensor, Tensor, Tensor]:
    """Stacked weights of x (P, D) and of h (P, H), and biases (P,)."""
    w = [weight.contiguous() for weight in weights[:8] if weight is not None]
    like = w[0]
    of_x, of_h, bias = (like.new_empty(sizes.products, n) for n in (sizes.inputs, sizes.hidden, 1))
    # in the order of the kernel: key, query, gates_x, gates_h, and the biases of the first three
    parameters = POINTERS(*addresses((w[0], w[2], w[4], w[5], w[1], w[3], w[6])))
    stack = kernel("episodic_stack", like.dtype, POINTERS, *[ctypes.c_int64] * 4, *[ctypes.c_void_p] * 3)
    stack(parameters, *sizes[2:6], *addresses((of_x, of_h, bias)))
    return of_x, of_h, bias.view(-1)


def _weight_gradients(
    sizes: Sizes, inputs: Tensor, products: Tensor, xs: Tensor, first_h: Tensor, after: Tensor,
    masked_h: Tensor | None, read: Tensor,
) -> list[Tensor]:  # fmt: skip
    """Gradients in the order of `FusedWeights`, without the last.

    inputs, products (T, S N, P): gradients of the products with x and with h.
    """
    size, of_h = sizes.key, products[:, :, sizes.key :]
    if masked_h is not None:
        by_h = of_h.flatten(0, 1).t() @ masked_h.flatten(0, 1)
    else:
        by_h = of_h[0].t() @ first_h
        if sizes.steps > 1:
            by_h.addmm_(of_h[1:].flatten(0, 1).t(), after[:-1].flatten(0, 1))
    flat = inputs.view(-1, sizes.products)
    by_x, by_after = flat.t() @ xs, flat[:, :size].t() @ after.view(-1, sizes.hidden)
    by_read = flat[:, 2 * size :].t() @ read.view(-1, sizes.value)
    gates, wide = 3 * sizes.hidden, sizes.inputs + sizes.hidden
    shapes = ((size, wide), (size,)) * 2, (gates, sizes.inputs + sizes.value), (gates, sizes.hidden), (gates,), (gates,)
    grads = [inputs.new_empty(shape) for shape in (*shapes[0], *shapes[1:])]
    g, sums = addresses(grads), inputs.new_empty(sizes.products)
    types = (*[ctypes.c_int64] * 4, *[ctypes.c_void_p] * 6, ctypes.c_int64, ctypes.c_void_p)
    kernel("episodic_unstack", inputs.dtype, POINTERS, *types)(
        POINTERS(g[0], g[2], g[4], g[5], g[1], g[3], g[6], g[7]), *sizes[2:6],
        *addresses((by_x, by_h, by_after, by_read, inputs, products)), len(flat), *addresses((sums,)),
    )  # fmt: skip
    return grads


def kernel_steps(
    config: FusedConfig, weights: FusedWeights, log: RowLog, h: Tensor, x: Tensor, reset: Tensor | None = None
) -> tuple[Tensor, RowLog, Tensor, Tensor]:
    """Steps over x (T, B, N, D), or one step over x (B, N, D).

    Args:
        config: without spans.
        weights: parameters of memory and cell.
        log: the store.
        h: the hidden state (B, N, H).
        x: inputs.
        reset: (T, B), as in `Core.unroll`.

    Returns:
        The hidden states of all steps, with the axes of x; the log; and the positions and weights (B, N, top_k) of the
        last read.
    """
    steps, members = (1 if x.dim() == h.dim() else len(x)), x.shape[-2]
    log, spans, starts = log.plan_writes(steps, members, reset)
    store, same_episode = log.store, None
    if reset is not None:
        same_episode = ~reset.repeat_interleave(members, 1).unsqueeze(-1)
    key, value, *handles, index, read_weights, hs = KernelStepFunction.apply(
        store.keys, store.values, *log.handles, *log.pending_rows[:2], x, h, starts, store.valid, same_episode,
        config._replace(spans=spans), *weights[:8],
    )  # fmt: skip
    log = log.commit(spans, tuple(handles), starts, PendingRows(key, value))
    return hs, log, *log.to_positions(index, read_weights, config.attend.top_k)
