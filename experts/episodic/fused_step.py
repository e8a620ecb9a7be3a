"""Steps of an episodic memory around a gated cell as one autograd function, with a hand-written backward pass.

It computes the same as the loop of `EpisodicMemory.forward`, with one matrix product for each input: that of x for all
steps at once (key, query, gates), that of the hidden state (key of the previous step, query, gates), and that of the
read vector. Weight gradients are one product over all steps. A single step gains nothing from it.

Shapes: T step, S stores, N members, D input, H hidden, G gates, K key, V value, k rows read.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function

from experts.episodic.row_log import PendingRows, RowLog
from experts.episodic.row_log_autograd import Span, owned_grad, rows_written_in_place
from experts.episodic.top_k_read import TopKAttention, TopKRows
from experts.recurrent.cell import Cell, Tensors
from experts.torch_internals import not_compiled


class FusedConfig(NamedTuple):
    """Static options of fused steps.

    Args:
        cell: class of the controller.
        attend: the read.
        scale: factor of queries.
        row_content: value of a row: "x", "h" or "both".
        detach: whether x and h are detached in rows.
        spans: rows that each step writes and reads.
    """

    cell: type[Cell]
    attend: TopKAttention
    scale: float
    row_content: str
    detach: bool
    spans: tuple[Span, ...] = ()

    @property
    def parts(self) -> int:
        """Number of tensors in the cell's state."""
        return len(self.cell.State._fields)

    def unflatten_saved(self, tensors: Sequence[Tensor]) -> tuple[list[Tensors], list[Tensors]]:
        """The initial state and those after each step, and the tensors saved by each step."""
        steps, parts = len(self.spans), self.parts
        count = (steps + 1) * parts
        per_step = (len(tensors) - count) // steps
        return (
            [tuple(tensors[i : i + parts]) for i in range(0, count, parts)],
            [tuple(tensors[i : i + per_step]) for i in range(count, len(tensors), per_step)],
        )

    def value(self, x: Tensor, h: Tensor) -> Tensor:
        """Uncompressed value of a row."""
        if self.row_content == "both":
            return torch.cat([x, h], -1)
        return (
            x if self.row_content == "x" else h
        ).clone()  # a copy, as an output of an autograd function must not be another input or output

    def split_value_grad(self, grad: Tensor, size: int) -> tuple[Tensor | None, Tensor | None]:
        """Gradients of x and h from that of a value, None for no gradient; size: D."""
        if self.detach:
            return None, None
        if self.row_content == "both":
            return grad[..., :size], grad[..., size:]
        return (grad, None) if self.row_content == "x" else (None, grad)


class FusedWeights(NamedTuple):
    """Parameters of memory and cell. The inputs of key and query are [x, h], those of the gates [x, m] and h."""

    key: Tensor
    key_bias: Tensor
    query: Tensor
    query_bias: Tensor
    gates_x: Tensor
    gates_h: Tensor
    bias_x: Tensor
    bias_h: Tensor
    compress: Tensor | None  # None: values are not compressed

    def by_input(self, size: int) -> tuple[Tensor, Tensor, Tensor]:
        """Stacked weights of x, h and m: (2 K + G, D), (2 K + G, H), (G, V). size: D."""
        weights_x = torch.cat([self.key[:, :size], self.query[:, :size], self.gates_x[:, :size]])
        weights_h = torch.cat([self.key[:, size:], self.query[:, size:], self.gates_h])
        return weights_x, weights_h, self.gates_x[:, size:]


class FusedStepFunction(Function):
    """Several steps as one autograd function.

    (storage, handles, pending rows, x, ...) -> (rows, handles, indices and weights of the last read, states)

    Inputs: keys and values, the storages of the log, and their handles; key and value, the pending rows (S, n, .); x
    (T, S N, D); starts (T, S), the first valid row, and valid_rows (S, C), the valid rows, or None where all are valid;
    same_episode (T, S N, 1): no reset before the step, or None for all; a
    `FusedConfig`; the nine of `FusedWeights`; the parts of the cell's state, (S N, H). States are those of all steps.
    """

    @staticmethod
    def forward(ctx, keys, values, _, __, key, value, x, starts, valid_rows, same_episode, config, *rest):
        weights, state = FusedWeights(*rest[:9]), rest[9:]
        weights_x, weights_h, weights_m = weights.by_input(x.shape[-1])
        size, stores = key.shape[-1], key.shape[0]
        sizes = [size, size, weights_m.shape[0]]
        bias = torch.cat([weights.key_bias, weights.query_bias, weights.bias_x])
        x_proj = torch.addmm(bias, x.flatten(0, 1), weights_x.t()).view(*x.shape[:-1], -1)
        all_states, cache, h_weights = [], [], weights_h[size:].t()
        for t, span in enumerate(config.spans):
            key_x, query, gates_x = x_proj[t].split(sizes, -1)
            if same_episode is not None:
                state = _mask(state, same_episode[t])
            product = state[0] @ h_weights
            if t:
                key = (last_x + product[:, :size]).view(stores, -1, size)
                product = product[:, size:]
            query = ((query + product[:, :size]) * config.scale).view(stores, -1, size)
            keys[:, span.write_start : span.end] = key
            values[:, span.write_start : span.end] = value
            valid = None if starts is None else span.valid(starts[t], valid_rows)
            read, *selection = config.attend.read(query, keys, values, span.window_start, span.end, valid)
            read = read.flatten(0, 1)
            gates_x = torch.addmm(gates_x, read, weights_m.t())
            state, saved = config.cell.cell_forward(gates_x, product[:, size:] + weights.bias_h, state)
            value, last_x, h_weights = config.value(x[t], state[0]), key_x, weights_h.t()
            value = value if weights.compress is None else value @ weights.compress.t()
            value = value.view(stores, -1, values.shape[-1])
            all_states += state
            cache += (query, read, *selection, *saved)
        key = torch.addmm(last_x, state[0], weights_h[:size].t()).view(stores, -1, size)
        # the storage is not saved: the version check would refuse the rows that later steps append
        ctx.keys, ctx.values, ctx.config, ctx.partial, ctx.width = keys, values, config, starts is not None, x.shape[-1]
        ctx.save_for_backward(
            x,
            same_episode,
            weights_x,
            weights_h,
            weights.gates_x,
            weights.compress,
            *rest[9:],
            *all_states,
            *cache,
        )
        index, _, read_weights = selection
        ctx.mark_non_differentiable(
            index, read_weights, *(s for i, s in enumerate(all_states[: -config.parts]) if i % config.parts)
        )
        ctx.set_materialize_grads(False)
        zero = keys.new_zeros(())
        return key, value, zero.expand(keys.shape), zero.expand(values.shape), index, read_weights, *all_states

    @staticmethod
    @rows_written_in_place
    def backward(ctx, grad_key, grad_value, grad_keys, grad_values, _, __, *grads):
        config, storage = ctx.config, (ctx.keys, ctx.values)
        x, same_episode, weights_x, weights_h, weights_m, compress, *saved = ctx.saved_tensors
        states, cache = config.unflatten_saved(saved)
        size, stores, weights_m = storage[0].shape[-1], len(storage[0]), weights_m[:, ctx.width :]
        all_grads = (*grads, grad_key, grad_value, grad_keys, grad_values)
        like = next((grad for grad in all_grads if grad is not None), storage[0])
        columns = owned_grad(grad_keys, storage[0], like), owned_grad(grad_values, storage[1], like)
        n = x.shape[1] // stores
        to_key = storage[0].new_zeros(stores, n, size) if grad_key is None else grad_key
        to_value = storage[1].new_zeros(stores, n, storage[1].shape[-1]) if grad_value is None else grad_value
        carry: Tensors = tuple(torch.zeros_like(part) for part in states[0])
        to_product, of_product = to_key.reshape(-1, size), weights_h[:size]
        inputs, products = [], []  # gradients of the products with x and with h
        row_grads_x, compressed_grads = [], []  # gradients of x as part of a row, and of compressed values
        for t, span in reversed(list(enumerate(config.spans))):
            (query, _, index, scores, read_weights), saved_cell = cache[t][:5], cache[t][5:]
            key_grad = to_key.reshape(-1, size)
            if config.detach:
                to_product, of_product = to_product[:, size:], of_product[size:]
            carry = (torch.addmm(carry[0], to_product, of_product), *carry[1:])
            if same_episode is not None and t + 1 < len(cache):
                carry = _mask(carry, same_episode[t + 1])
            grad_state = tuple(
                c if g is None else c + g for c, g in zip(carry, grads[t * config.parts :], strict=False)
            )
            to_content = to_value.reshape(-1, to_value.shape[-1])
            if compress is not None:
                compressed_grads.append(to_content)
                to_content = to_content @ compress
            as_x, as_h = config.split_value_grad(to_content, ctx.width)
            row_grads_x.append(as_x)
            if as_h is not None:
                grad_state = (grad_state[0] + as_h, *grad_state[1:])
            old = states[t] if same_episode is None else _mask(states[t], same_episode[t])
            to_x, to_h, carry = config.cell.cell_backward(grad_state, old, saved_cell)
            rows = TopKRows(index, span.window_start, span.end, storage[0].shape[1], ctx.partial)
            grad_read = (to_x @ weights_m).view(stores, n, -1)
            to_query = config.attend.backward(grad_read, query, rows, scores, read_weights, storage, columns)
            to_query = to_query.reshape(-1, size) * config.scale
            inputs.append(torch.cat([key_grad, to_query, to_x], -1))
            products.append(torch.cat([to_query, to_h], -1))
            to_key, to_value = (column.narrow(1, span.write_start, span.end - span.write_start) for column in columns)
            to_product, of_product = products[-1], weights_h[size:]
            if t:
                to_product, of_product = torch.cat([to_key.reshape(-1, size), to_product], -1), weights_h
        carry = (torch.addmm(carry[0], to_product, of_product), *carry[1:])
        if same_episode is not None:
            carry = _mask(carry, same_episode[0])
        inputs, products = _concatenate(inputs[::-1]), _concatenate(products[::-1])
        to_weights = _weight_gradients(
            inputs, products, x.flatten(0, 1), states, same_episode, [k[1] for k in cache], size
        )
        to_compress = None
        if compress is not None:
            content = config.value(x.flatten(0, 1), _concatenate([s[0] for s in states[1:]]))
            to_compress = _concatenate(compressed_grads[::-1]).t() @ content
        to_x = None
        if ctx.needs_input_grad[6]:
            to_x = (inputs[:, size:] @ weights_x[size:] if config.detach else inputs @ weights_x).view(x.shape)
            if row_grads_x[0] is not None:
                to_x = to_x + torch.stack(row_grads_x[::-1])
        return None, None, *columns, to_key, to_value, to_x, *[None] * 4, *to_weights, to_compress, *carry


def _weight_gradients(
    inputs: Tensor, products: Tensor, x: Tensor, states: list[Tensors], same_episode: Tensor | None,
    reads: list[Tensor], size: int,
) -> Tensors:  # fmt: skip
    """Gradients in the order of `FusedWeights`, without the last.

    inputs (T S N, 2 K + G), products (T S N, K + G): gradients of the products with x and with h.
    """
    previous, current = _concatenate([s[0] for s in states[:-1]]), _concatenate([s[0] for s in states[1:]])
    if same_episode is not None:
        previous = torch.where(same_episode.flatten(0, 1), previous, 0)
    by_x, by_h = inputs.t() @ x, products.t() @ previous
    key, query, gates = by_x.split([size, size, len(by_x) - 2 * size])
    biases, bias_h = inputs.sum(0), products[:, size:].sum(0)
    key_bias, query_bias, bias_x = biases.split([size, size, len(gates)])
    return (
        torch.cat([key, inputs[:, :size].t() @ current], -1), key_bias,
        torch.cat([query, by_h[:size]], -1), query_bias,
        torch.cat([gates, inputs[:, 2 * size :].t() @ _concatenate(reads)], -1), by_h[size:],
        bias_x, bias_h,
    )  # fmt: skip


def _concatenate(parts: list[Tensor]) -> Tensor:
    """The rows of all steps, concatenated."""
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _mask(parts: Tensors, mask: Tensor) -> Tensors:
    """The parts, with zeros where the mask (S N, 1) is not set."""
    return tuple(torch.where(mask, part, 0) for part in parts)


@not_compiled
def fused_steps(
    config: FusedConfig,
    weights: FusedWeights,
    log: RowLog,
    state: Tensors,
    x: Tensor,
    reset: Tensor | None = None,
) -> tuple[Tensors, Tensors, RowLog, Tensor, Tensor]:
    """Steps over x (T, S, N, D).

    Args:
        config: without spans.
        weights: parameters of memory and cell.
        log: the store.
        state: the cell's state.
        x: inputs.
        reset: (T, S), as in `Core.unroll`.

    Returns:
        The hidden states of all steps, the cell's last state, the log, and the positions and weights (S, N, top_k) of
        the last read.
    """
    log, spans, starts = log.plan_writes(len(x), x.shape[2], reset)
    config, store, shape = config._replace(spans=spans), log.store, x.shape[1:-1]
    same_episode = None if reset is None else ~reset.unsqueeze(-1).expand(-1, *shape).flatten(1).unsqueeze(-1)
    key, value, *rest = FusedStepFunction.apply(
        store.keys, store.values, *log.handles, *log.pending_rows[:2], x.flatten(1, 2), starts, store.valid,
        same_episode, config, *weights, *(part.flatten(0, 1) for part in state),
    )  # fmt: skip
    key_handle, value_handle, index, read_weights, *all_states = rest
    pending = PendingRows(key, value)
    log = log.commit(spans, (key_handle, value_handle), starts, pending)
    hs = tuple(h.view(*shape, -1) for h in all_states[:: config.parts])
    last = (hs[-1], *(part.view(*shape, -1) for part in all_states[1 - config.parts :] if config.parts > 1))
    return hs, last, log, *log.to_positions(index, read_weights, config.attend.top_k)
