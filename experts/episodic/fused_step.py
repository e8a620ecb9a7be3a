"""Steps of an episodic memory around a gated cell as one function, with the backward pass written out.

The same mathematics as reading a log and stepping the cell (`EpisodicMemory.forward` around any other controller), with
one matrix product for what shares its input: the inputs' of all steps at once (key, query, gates), the hidden state's
(key of the step before, query, gates) and the recalled value's; weights get their gradients in one product over all
steps. One step is the case of T = 1.

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
    """What is known on the host. scale: of the queries; keep: what a row's value holds, "x", "h" or "both"; detach: no
    gradient into what rows hold; spans: one a step."""

    cell: type[Cell]
    attend: TopKAttention
    scale: float
    row_content: str
    detach: bool
    spans: tuple[Span, ...] = ()

    @property
    def parts(self) -> int:
        """Tensors in the cell's state."""
        return len(self.cell.State._fields)

    def unflatten_saved(self, tensors: Sequence[Tensor]) -> tuple[list[Tensors], list[Tensors]]:
        """States, first of all that at the beginning, and what is kept of each step."""
        steps, parts = len(self.spans), self.parts
        count = (steps + 1) * parts
        each = (len(tensors) - count) // steps
        return (
            [tuple(tensors[i : i + parts]) for i in range(0, count, parts)],
            [tuple(tensors[i : i + each]) for i in range(count, len(tensors), each)],
        )

    def value(self, x: Tensor, h: Tensor) -> Tensor:
        if self.row_content == "both":
            return torch.cat([x, h], -1)
        return (x if self.row_content == "x" else h).clone()  # an output of its own, beside the one that it is

    def split_value_grad(self, grad: Tensor, size: int) -> tuple[Tensor | None, Tensor | None]:
        """What of a value's gradient goes to x and to h; size: D."""
        if self.detach:
            return None, None
        if self.row_content == "both":
            return grad[..., :size], grad[..., size:]
        return (grad, None) if self.row_content == "x" else (None, grad)


class FusedWeights(NamedTuple):
    """Of memory and cell, as modules hold them; the key's and the query's inputs are [x, h], the gates' [x, m]."""

    key: Tensor
    key_bias: Tensor
    query: Tensor
    query_bias: Tensor
    gates_x: Tensor
    gates_h: Tensor
    bias_x: Tensor
    bias_h: Tensor
    compress: Tensor | None  # of what a row holds; None: it is stored as it is

    def by_input(self, size: int) -> tuple[Tensor, Tensor, Tensor]:
        """The products with x, h, and m: (2 K + G, D), (2 K + G, H), (G, V). size: D."""
        of_x = torch.cat([self.key[:, :size], self.query[:, :size], self.gates_x[:, :size]])
        of_h = torch.cat([self.key[:, size:], self.query[:, size:], self.gates_h])
        return of_x, of_h, self.gates_x[:, size:]


class FusedStepFunction(Function):
    """(storage, handles, pending row, x, ...) -> (row, handles, places and weights of the last read, states)

    Inputs: keys and values, storages of the log, and their handles; key and value, the pending row (S, n, .); x
    (T, S N, D); starts (T, S) and flags (S, C), from which on and which rows count, or None where all do; present
    (T, S N, 1): who is there, and going (T, S N, 1): who is in the same episode as the step before, or None for all; a
    `FusedConfig`; the nine of `FusedWeights`; the parts of the cell's state, (S N, H). States are those of all steps.
    """

    @staticmethod
    def forward(ctx, keys, values, _, __, key, value, x, starts, flags, present, same_episode, plan, *rest):
        weights, state = FusedWeights(*rest[:9]), rest[9:]
        of_x, of_h, of_m = weights.by_input(x.shape[-1])
        size, stores = key.shape[-1], key.shape[0]
        sizes = [size, size, of_m.shape[0]]
        bias = torch.cat([weights.key_bias, weights.query_bias, weights.bias_x])
        from_x = torch.addmm(bias, x.flatten(0, 1), of_x.t()).view(*x.shape[:-1], -1)
        passed, kept, from_h = [], [], of_h[size:].t()
        for t, span in enumerate(plan.spans):
            key_x, query, gates_x = from_x[t].split(sizes, -1)
            if same_episode is not None:
                state = _masked(state, same_episode[t])
            product = state[0] @ from_h
            if t:
                key = (last_x + product[:, :size]).view(stores, -1, size)
                product = product[:, size:]
            query = ((query + product[:, :size]) * plan.scale).view(stores, -1, size)
            keys[:, span.write_start : span.end] = key
            values[:, span.write_start : span.end] = value
            valid = None if starts is None else span.valid(starts[t], flags)
            recalled, *read = plan.attend.read(query, keys, values, span.window_start, span.end, valid)
            recalled = recalled.flatten(0, 1)
            gates_x = torch.addmm(gates_x, recalled, of_m.t())
            new, saved = plan.cell.cell_forward(gates_x, product[:, size:] + weights.bias_h, state)
            state = new if present is None else tuple(map(torch.where, [present[t]] * len(new), new, state))
            value, last_x, from_h = plan.value(x[t], state[0]), key_x, of_h.t()
            value = value if weights.compress is None else value @ weights.compress.t()
            value = value.view(stores, -1, values.shape[-1])
            passed += state
            kept += (query, recalled, *read, *saved)
        key = torch.addmm(last_x, state[0], of_h[:size].t()).view(stores, -1, size)
        # the storage is not saved: the version check would refuse the rows that later steps append
        ctx.keys, ctx.values, ctx.plan, ctx.partial, ctx.width = keys, values, plan, starts is not None, x.shape[-1]
        ctx.save_for_backward(
            x, present, same_episode, of_x, of_h, weights.gates_x, weights.compress, *rest[9:], *passed, *kept
        )
        index, _, shares = read
        ctx.mark_non_differentiable(index, shares, *(s for i, s in enumerate(passed[: -plan.parts]) if i % plan.parts))
        ctx.set_materialize_grads(False)
        nothing = keys.new_zeros(())
        return key, value, nothing.expand(keys.shape), nothing.expand(values.shape), index, shares, *passed

    @staticmethod
    @rows_written_in_place
    def backward(ctx, grad_key, grad_value, grad_keys, grad_values, _, __, *grads):
        plan, storage = ctx.plan, (ctx.keys, ctx.values)
        x, present, going, of_x, of_h, of_m, compress, *saved = ctx.saved_tensors
        states, kept = plan.unflatten_saved(saved)
        size, stores, of_m = storage[0].shape[-1], len(storage[0]), of_m[:, ctx.width :]
        given = (*grads, grad_key, grad_value, grad_keys, grad_values)
        like = next((grad for grad in given if grad is not None), storage[0])
        columns = owned_grad(grad_keys, storage[0], like), owned_grad(grad_values, storage[1], like)
        n = x.shape[1] // stores
        to_key = storage[0].new_zeros(stores, n, size) if grad_key is None else grad_key
        to_value = storage[1].new_zeros(stores, n, storage[1].shape[-1]) if grad_value is None else grad_value
        carry: Tensors = tuple(torch.zeros_like(part) for part in states[0])
        to_product, of_product = to_key.reshape(-1, size), of_h[:size]
        inputs, products = [], []  # gradients of the products with x and with h
        held, wrote = [], []  # gradients of x as part of a row, and of compressed rows
        for t, span in reversed(list(enumerate(plan.spans))):
            (query, _, index, scores, shares), own = kept[t][:5], kept[t][5:]
            key_grad = to_key.reshape(-1, size)
            if plan.detach:
                to_product, of_product = to_product[:, size:], of_product[size:]
            carry = (torch.addmm(carry[0], to_product, of_product), *carry[1:])
            if going is not None and t + 1 < len(kept):
                carry = _masked(carry, going[t + 1])
            arrived = tuple(c if g is None else c + g for c, g in zip(carry, grads[t * plan.parts :], strict=False))
            to_content = to_value.reshape(-1, to_value.shape[-1])
            if compress is not None:
                wrote.append(to_content)
                to_content = to_content @ compress
            as_x, as_h = plan.split_value_grad(to_content, ctx.width)
            held.append(as_x)
            if as_h is not None:
                arrived = (arrived[0] + as_h, *arrived[1:])
            old = states[t] if going is None else _masked(states[t], going[t])
            if present is None:
                to_x, to_h, carry = plan.cell.cell_backward(arrived, old, own)
            else:
                to_x, to_h, carry = plan.cell.cell_backward(_masked(arrived, present[t]), old, own)
                carry = tuple(c + a for c, a in zip(carry, _masked(arrived, ~present[t]), strict=True))
            found = TopKRows(index, span.window_start, span.end, storage[0].shape[1], ctx.partial)
            read = (to_x @ of_m).view(stores, n, -1)
            to_query = plan.attend.backward(read, query, found, scores, shares, storage, columns)
            to_query = to_query.reshape(-1, size) * plan.scale
            inputs.append(torch.cat([key_grad, to_query, to_x], -1))
            products.append(torch.cat([to_query, to_h], -1))
            to_key, to_value = (column.narrow(1, span.write_start, span.end - span.write_start) for column in columns)
            to_product, of_product = products[-1], of_h[size:]
            if t:
                to_product, of_product = torch.cat([to_key.reshape(-1, size), to_product], -1), of_h
        carry = (torch.addmm(carry[0], to_product, of_product), *carry[1:])
        if going is not None:
            carry = _masked(carry, going[0])
        inputs, products = _joined(inputs[::-1]), _joined(products[::-1])
        to_weights = _weight_gradients(inputs, products, x.flatten(0, 1), states, going, [k[1] for k in kept], size)
        to_compress = None
        if compress is not None:
            content = plan.value(x.flatten(0, 1), _joined([s[0] for s in states[1:]]))
            to_compress = _joined(wrote[::-1]).t() @ content
        to_x = None
        if ctx.needs_input_grad[6]:
            to_x = (inputs[:, size:] @ of_x[size:] if plan.detach else inputs @ of_x).view(x.shape)
            if held[0] is not None:
                to_x = to_x + torch.stack(held[::-1])
        return None, None, *columns, to_key, to_value, to_x, *[None] * 5, *to_weights, to_compress, *carry


def _weight_gradients(
    inputs: Tensor, products: Tensor, x: Tensor, states: list[Tensors], going: Tensor | None, recalled: list[Tensor],
    size: int,
) -> Tensors:  # fmt: skip
    """In the order of `FusedWeights`, but for the last, from the gradients of the products with x (T S N, 2 K + G) and
    with h (., K + G)."""
    before, after = _joined([s[0] for s in states[:-1]]), _joined([s[0] for s in states[1:]])
    if going is not None:
        before = torch.where(going.flatten(0, 1), before, 0)
    by_x, by_h = inputs.t() @ x, products.t() @ before
    key, query, gates = by_x.split([size, size, len(by_x) - 2 * size])
    biases, bias_h = inputs.sum(0), products[:, size:].sum(0)
    key_bias, query_bias, bias_x = biases.split([size, size, len(gates)])
    return (
        torch.cat([key, inputs[:, :size].t() @ after], -1), key_bias,
        torch.cat([query, by_h[:size]], -1), query_bias,
        torch.cat([gates, inputs[:, 2 * size :].t() @ _joined(recalled)], -1), by_h[size:],
        bias_x, bias_h,
    )  # fmt: skip


def _joined(parts: list[Tensor]) -> Tensor:
    """All steps' rows one after the other."""
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _masked(parts: Tensors, mask: Tensor) -> Tensors:
    """Zeros where the mask, (S N, 1), is not set."""
    return tuple(torch.where(mask, part, 0) for part in parts)


@not_compiled
def fused_steps(
    plan: FusedConfig,
    weights: FusedWeights,
    log: RowLog,
    state: Tensors,
    x: Tensor,
    present: Tensor | None = None,
    reset: Tensor | None = None,
) -> tuple[Tensors, Tensors, RowLog, Tensor, Tensor]:
    """Steps over x (T, S, N, D): hidden states of all steps, the cell's last state, the log, and the positions and
    weights (S, N, top_k) of the last read. plan: without spans. present (T, S, N), reset (T, S): see `Core`."""
    log, spans, starts = log.plan_writes(len(x), x.shape[2], present, reset)
    plan, store, shape = plan._replace(spans=spans), log.store, x.shape[1:-1]
    there = None if present is None else present.flatten(1).unsqueeze(-1)
    going = None if reset is None else ~reset.unsqueeze(-1).expand(-1, *shape).flatten(1).unsqueeze(-1)
    key, value, *rest = FusedStepFunction.apply(
        store.keys, store.values, *log.handles, *log.pending_rows[:2], x.flatten(1, 2), starts, store.valid, there, going,
        plan, *weights, *(part.flatten(0, 1) for part in state),
    )  # fmt: skip
    key_handle, value_handle, index, shares, *passed = rest
    pending = PendingRows(key, value, None if present is None else present[-1])
    log = log.commit(spans, (key_handle, value_handle), starts, pending)
    hs = tuple(h.view(*shape, -1) for h in passed[:: plan.parts])
    last = (hs[-1], *(part.view(*shape, -1) for part in passed[1 - plan.parts :] if plan.parts > 1))
    return hs, last, log, *log.to_positions(index, shares, plan.attend.top_k)
