"""One write and read of a differentiable neural computer as one autograd function, with a hand-written backward pass.

It covers all of a step but the controller, the interface layer and the output layer. Under autograd the overhead of the
hundred or so small operations of a step would exceed their cost.

Shapes: B store, N members, R read heads of each, H = N R heads, S slot, W slot size, I interface size.
"""

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function

from experts.dnc import addressing
from experts.dnc.interface import InterfaceParams, InterfaceSpec
from experts.second_derivatives import differentiable_gradients
from experts.torch_internals import functorch_active


class DNCStore(NamedTuple):
    """The store: memory, usage after the last write, temporal links, and precedence (degree of being written last)."""

    memory: Tensor  # (B, S, W)
    usage: Tensor  # (B, S)
    link: Tensor  # (B, S, S)
    precedence: Tensor  # (B, S)


class WriteCache(NamedTuple):
    """Tensors saved for the backward pass of a write: the store before it, and intermediate results."""

    memory: Tensor
    usage: Tensor
    link: Tensor
    precedence: Tensor
    retention: Tensor  # (B, R, S): 1 - free gate * read weight
    used: Tensor  # usage after freeing
    allocation: Tensor
    order: Tensor
    sorted_usage: Tensor
    remaining: Tensor
    content: Tensor  # (B, 1, S)
    cosine: Tensor
    key_norm: Tensor
    slot_norms: Tensor
    written: Tensor


def write_memory(
    spec: InterfaceSpec, store: DNCStore, read: Tensor, params: InterfaceParams
) -> tuple[DNCStore, WriteCache]:
    """The store after one member has freed and written; read (B, R, S): its previous read weights."""
    memory, usage, link, precedence = store
    retention = 1 - params.gates[:, 2:].unsqueeze(-1) * read
    retained = retention.prod(1)
    used = usage * retained
    allocation, allocation_cache = addressing.allocation_weights(used)
    mask = None if params.write_mask is None else params.write_mask.unsqueeze(1)
    content, content_cache = addressing.content_weights(
        params.write_key.unsqueeze(1), params.write_strength, memory, mask
    )
    written = params.gates[:, :1] * torch.lerp(content.squeeze(1), allocation, params.gates[:, 1:2])
    erased = memory * retained.unsqueeze(-1) if spec.deallocation else memory
    change = torch.addcmul(params.write_value.unsqueeze(1), erased, params.erase.unsqueeze(1), value=-1)
    updated = DNCStore(
        torch.addcmul(erased, written.unsqueeze(-1), change),
        torch.addcmul(used + written, used, written, value=-1),
        addressing.update_links(link, precedence, written),
        torch.addcmul(precedence + written, precedence, written.sum(-1, keepdim=True), value=-1),
    )
    return updated, WriteCache(*store, retention, used, allocation, *allocation_cache, content, *content_cache, written)


def write_memory_backward(
    spec: InterfaceSpec,
    grad: DNCStore,
    grad_written: Tensor,
    cache: WriteCache,
    read: Tensor,
    params: InterfaceParams,
    grad_params: InterfaceParams,
) -> tuple[DNCStore, Tensor]:
    """Backward pass of `write_memory`: gradients of the old store and of the read weights `read`.

    Gradients of `params` are written into `grad_params`. The memory and link of `grad` are overwritten.
    grad_written: gradient of the write weights as an output of the step.
    """
    written, used = cache.written, cache.used
    grad_link, grad_precedence, by_link = addressing.update_links_backward(
        grad.link, cache.link, cache.precedence, written
    )
    decay = (grad.precedence * cache.precedence).sum(-1, keepdim=True)
    direct = grad.usage * (1 - used) + grad.precedence - decay + by_link
    grad_written = direct + grad_written
    grad_precedence = grad_precedence + grad.precedence * (1 - written.sum(-1, keepdim=True))
    grad_used = grad.usage * (1 - written)

    retained = cache.retention.prod(1)
    memory = cache.memory * retained.unsqueeze(-1) if spec.deallocation else cache.memory
    product = grad.memory * memory
    column, erase = written.unsqueeze(1), params.erase.unsqueeze(1)
    grad_params.write_value.copy_((column @ grad.memory).squeeze(1))
    grad_params.erase.copy_((column @ product).squeeze(1)).neg_()
    grad_written = grad_written + (grad.memory @ params.write_value.unsqueeze(-1)).squeeze(-1)
    grad_written -= (product @ params.erase.unsqueeze(-1)).squeeze(-1)
    grad_memory = grad.memory.mul_(1 - written.unsqueeze(-1) * erase)
    grad_retained = None
    if spec.deallocation:
        grad_retained = (grad_memory * cache.memory).sum(-1)
        grad_memory.mul_(retained.unsqueeze(-1))

    gate, allocation_gate, content = params.gates[:, :1], params.gates[:, 1:2], cache.content.squeeze(1)
    grad_params.gates[:, 0] = (grad_written * torch.lerp(content, cache.allocation, allocation_gate)).sum(-1)
    grad_mix = grad_written * gate
    grad_params.gates[:, 1] = (grad_mix * (cache.allocation - content)).sum(-1)
    grad_free = grad_mix * allocation_gate
    grad_used += addressing.allocation_weights_backward(grad_free, (cache.order, cache.sorted_usage, cache.remaining))
    mask = None if params.write_mask is None else params.write_mask.unsqueeze(1)
    grad_key, grad_strength, grad_mask = addressing.content_weights_backward(
        (grad_mix - grad_free).unsqueeze(1),
        cache.content,
        (cache.cosine, cache.key_norm, cache.slot_norms),
        (params.write_key.unsqueeze(1), params.write_strength, cache.memory, mask),
        grad_memory,
    )
    grad_params.write_key.copy_(grad_key.squeeze(1))
    grad_params.write_strength.copy_(grad_strength)
    if grad_params.write_mask is not None and grad_mask is not None:
        grad_params.write_mask.copy_(grad_mask.squeeze(1))

    grad_via_usage = grad_used * cache.usage
    grad_retained = grad_via_usage if grad_retained is None else grad_via_usage + grad_retained
    grad_retention = product_of_others(cache.retention) * grad_retained.unsqueeze(1)
    grad_params.gates[:, 2:] = -(grad_retention * read).sum(-1)
    grad_read = -grad_retention * params.gates[:, 2:].unsqueeze(-1)
    return DNCStore(grad_memory, grad_used * retained, grad_link, grad_precedence), grad_read


def product_of_others(factors: Tensor) -> Tensor:
    """(B, R, S) -> (B, R, S): for each head the product of the other heads' factors, correct where some are 0."""
    own = torch.eye(factors.shape[1], dtype=torch.bool, device=factors.device).unsqueeze(-1)
    return factors.unsqueeze(1).masked_fill(own, 1).prod(2)


class ReadCache(NamedTuple):
    """Tensors saved for the backward pass of a read."""

    mode_weights: Tensor  # (B, H, 3, S): backward, content, forward
    cosine: Tensor
    key_norms: Tensor
    slot_norms: Tensor
    weights: Tensor  # (B, H, S)
    backward_logs: Tensor | None  # of the unsharpened link weights
    forward_logs: Tensor | None


def read_memory(
    spec: InterfaceSpec, store: DNCStore, read_weights: Tensor, params: InterfaceParams
) -> tuple[Tensor, ReadCache]:
    """Read vectors of all heads, (B, H, W); read_weights (B, H, S): those of the previous step."""
    keys, strengths, masks, powers, modes = per_head(spec, params)
    backward, forward = read_weights @ store.link, read_weights @ store.link.mT
    backward_logs = forward_logs = None
    if powers is not None:
        backward, backward_logs = addressing.sharpen(backward, powers[..., 0])
        forward, forward_logs = addressing.sharpen(forward, powers[..., 1])
    content, content_cache = addressing.content_weights(keys, strengths, store.memory, masks)
    mode_weights = torch.stack([backward, content, forward], 2)
    weights = (modes.unsqueeze(-2) @ mode_weights).squeeze(-2)
    return weights @ store.memory, ReadCache(mode_weights, *content_cache, weights, backward_logs, forward_logs)


def read_memory_backward(
    spec: InterfaceSpec,
    grad: DNCStore,
    grad_weights: Tensor,
    grad_values: Tensor,
    cache: ReadCache,
    store: DNCStore,
    read_weights: Tensor,
    params: InterfaceParams,
    grad_params: InterfaceParams,
) -> tuple[DNCStore, Tensor]:
    """Backward pass of `read_memory`: gradients of the store, in new tensors, and of `read_weights`.

    Gradients of `params` are written into `grad_params`.
    """
    keys, strengths, masks, powers, modes = per_head(spec, params)
    grad_weights = torch.baddbmm(grad_weights, grad_values, store.memory.mT)
    grad_memory = torch.baddbmm(grad.memory, cache.weights.mT, grad_values)
    grad_params.modes.copy_((cache.mode_weights @ grad_weights.unsqueeze(-1)).view_as(grad_params.modes))
    grad_backward, grad_similar, grad_forward = (modes.unsqueeze(-1) * grad_weights.unsqueeze(2)).unbind(2)
    grad_keys, grad_strengths, grad_masks = addressing.content_weights_backward(
        grad_similar,
        cache.mode_weights[:, :, 1],
        (cache.cosine, cache.key_norms, cache.slot_norms),
        (keys, strengths, store.memory, masks),
        grad_memory,
    )
    grad_params.keys.copy_(grad_keys.view_as(grad_params.keys))
    grad_params.strengths.copy_(grad_strengths.view_as(grad_params.strengths))
    if grad_params.masks is not None and grad_masks is not None:
        grad_params.masks.copy_(grad_masks.view_as(grad_params.masks))
    if (
        powers is not None
        and grad_params.sharpness is not None
        and cache.backward_logs is not None
        and cache.forward_logs is not None
    ):
        backward, _, forward = cache.mode_weights.unbind(2)
        grad_backward, grad_power_backward = addressing.sharpen_backward(
            grad_backward, backward, cache.backward_logs, powers[..., 0]
        )
        grad_forward, grad_power_forward = addressing.sharpen_backward(
            grad_forward, forward, cache.forward_logs, powers[..., 1]
        )
        grad_params.sharpness.copy_(
            torch.stack([grad_power_backward, grad_power_forward], -1).view_as(grad_params.sharpness)
        )
    grad_last = torch.baddbmm(grad_forward @ store.link, grad_backward, store.link.mT)
    grad_link = torch.baddbmm(
        grad.link, torch.cat([grad_forward, read_weights], 1).mT, torch.cat([read_weights, grad_backward], 1)
    )
    return grad._replace(memory=grad_memory, link=grad_link), grad_last


def per_head(
    spec: InterfaceSpec, params: InterfaceParams
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None, Tensor]:
    """Read parameters by head of all members, (B, H, .): keys, strengths, masks, powers of links, modes."""
    heads = params.strengths.shape[1] * spec.heads

    def reshape(part: Tensor, size: int) -> Tensor:
        return part.reshape(len(part), heads, size)

    return (
        reshape(params.keys, spec.width),
        params.strengths.flatten(1),
        None if params.masks is None else reshape(params.masks, spec.width),
        None if params.sharpness is None else reshape(params.sharpness, 2),
        reshape(params.modes, 3),
    )


class StepOutput(NamedTuple):
    """Result of a step: the parts of the store, and weights, read vectors, gates and modes of each member."""

    memory: Tensor
    usage: Tensor
    link: Tensor
    precedence: Tensor
    written: Tensor  # (B, N, S)
    weights: Tensor  # (B, N, R, S)
    values: Tensor  # (B, N, R W)
    gates: Tensor  # (B, N, 2 + R)
    modes: Tensor  # (B, N, 3 R)


def step_ops(
    spec: InterfaceSpec, present: Tensor | None, interface: Tensor, read_weights: Tensor, *parts: Tensor
) -> tuple[StepOutput, list[Tensor], list[WriteCache], ReadCache]:
    """A step in plain operations: members write one after the other, then all read.

    Also returns the decoded interface and the caches for the backward pass. present (B, N) or None for all; interface
    (B, N, I); read_weights (B, N, R, S): previous read weights; parts: those of the `DNCStore`.
    """
    groups, store, caches = spec.decode(interface), DNCStore(*parts), []
    params = spec.assemble(*groups)
    if present is not None:  # the gates of absent members are 0
        params = params._replace(gates=params.gates * present.unsqueeze(-1))
    for member in range(interface.shape[1]):
        store, cache = write_memory(spec, store, read_weights[:, member], params.member(member))
        caches.append(cache)
    values, read_cache = read_memory(spec, store, read_weights.flatten(1, 2), params)
    written = torch.stack([cache.written for cache in caches], 1)
    values = values.view(*read_weights.shape[:2], spec.heads * spec.width)
    out = StepOutput(*store, written, read_cache.weights.view_as(read_weights), values, params.gates, params.modes)
    return out, list(groups), caches, read_cache


class DNCStepFunction(Function):
    """`step_ops` as one autograd function."""

    @staticmethod
    def forward(ctx, spec, present, interface, read_weights, *parts):
        out, groups, caches, read_cache = step_ops(spec, present, interface, read_weights, *parts)
        ctx.spec, ctx.members = spec, len(caches)
        flat_caches = [part for cache in caches for part in cache]
        ctx.save_for_backward(
            present, interface, read_weights, *groups, *out[: len(DNCStore._fields)], *read_cache, *flat_caches
        )
        gates, modes = out.gates.clone(), out.modes.clone()
        ctx.mark_non_differentiable(gates, modes)
        return tuple(out._replace(gates=gates, modes=modes))

    @staticmethod
    def backward(ctx, *grads):
        spec, grad = ctx.spec, StepOutput(*grads)
        present, interface, read_weights, *saved = ctx.saved_tensors
        groups, saved = saved[:4], saved[4:]
        store, saved = DNCStore(*saved[:4]), saved[4:]
        size = len(ReadCache._fields)
        read_cache, saved = ReadCache(*saved[:size]), saved[size:]
        if torch.is_grad_enabled():  # create_graph=True: by plain operations, which have second derivatives
            first = DNCStore(*saved[: len(DNCStore._fields)])  # the store before the first member's write
            plain = partial(_plain, spec, present)
            return (
                None,
                None,
                *differentiable_gradients(plain, (interface, read_weights, *first), (*grads[:-2], None, None)),
            )
        params, grad_groups = spec.assemble(*groups), [torch.empty_like(group) for group in groups]
        grad_params = spec.assemble(*grad_groups)
        if present is not None:
            params = params._replace(gates=params.gates * present.unsqueeze(-1))
        heads = read_weights.flatten(1, 2)
        grad_weights, grad_values = grad.weights.flatten(1, 2), grad.values.reshape(*heads.shape[:2], spec.width)
        grad_store, grad_last = read_memory_backward(
            spec, DNCStore(*grads[:4]), grad_weights, grad_values, read_cache, store, heads, params, grad_params
        )
        grad_last = grad_last.view_as(read_weights)
        size = len(WriteCache._fields)
        for member in reversed(range(ctx.members)):
            cache = WriteCache(*saved[member * size : (member + 1) * size])
            grad_store, grad_member = write_memory_backward(
                spec,
                grad_store,
                grad.written[:, member],
                cache,
                read_weights[:, member],
                params.member(member),
                grad_params.member(member),
            )
            grad_last[:, member] += grad_member
        if present is not None:
            grad_params.gates.mul_(present.unsqueeze(-1))
        _, _, oneplus, _ = spec.split(interface)
        return None, None, spec.decode_backward(grad_groups, groups, oneplus), grad_last, *grad_store


def _plain(
    spec: InterfaceSpec, present: Tensor | None, interface: Tensor, read_weights: Tensor, *parts: Tensor
) -> StepOutput:
    return step_ops(spec, present, interface, read_weights, *parts)[0]


def step(
    spec: InterfaceSpec, present: Tensor | None, interface: Tensor, read_weights: Tensor, store: DNCStore
) -> StepOutput:
    """A step of all members; in plain operations under torch.func and torch.compile."""
    if functorch_active() or torch.compiler.is_compiling():
        return _plain(spec, present, interface, read_weights, *store)
    return StepOutput(*DNCStepFunction.apply(spec, present, interface, read_weights, *store))
