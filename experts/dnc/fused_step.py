"""One step of a differentiable neural computer's store as one function, with the backward pass written out.

All but the controller, the map of its output onto the interface, and the map onto the output: under autograd the some
hundred small operations of a step would cost more than what they compute.

Shapes: B store, N members, R read heads of each, H = N R heads, S slot, W numbers in a slot, I interface.
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
    """usage: after the last write. precedence: how much each slot was the last one written to."""

    memory: Tensor  # (B, S, W)
    usage: Tensor  # (B, S)
    link: Tensor  # (B, S, S)
    precedence: Tensor  # (B, S)


class WriteCache(NamedTuple):
    """What the gradient of a write wants to know: the store that there was, and what came of it."""

    memory: Tensor
    usage: Tensor
    link: Tensor
    precedence: Tensor
    retention: Tensor  # (B, R, S), of each slot by each head
    used: Tensor  # usage without what was freed
    free: Tensor
    order: Tensor
    ordered: Tensor
    left: Tensor
    similar: Tensor  # (B, 1, S)
    cosine: Tensor
    of_key: Tensor
    of_slots: Tensor
    written: Tensor


def write_memory(
    plan: InterfaceSpec, store: DNCStore, read: Tensor, ask: InterfaceParams
) -> tuple[DNCStore, WriteCache]:
    """The store after a member has freed what it read and has written; read (B, R, S): its last weights."""
    memory, usage, link, precedence = store
    spared = 1 - ask.gates[:, 2:].unsqueeze(-1) * read
    retained = spared.prod(1)
    used = usage * retained
    free, ordered = addressing.allocation_weights(used)
    mask = None if ask.write_mask is None else ask.write_mask.unsqueeze(1)
    similar, compared = addressing.content_weights(ask.write_key.unsqueeze(1), ask.write_strength, memory, mask)
    written = ask.gates[:, :1] * torch.lerp(similar.squeeze(1), free, ask.gates[:, 1:2])
    kept = memory * retained.unsqueeze(-1) if plan.deallocation else memory
    change = torch.addcmul(ask.write_value.unsqueeze(1), kept, ask.erase.unsqueeze(1), value=-1)
    after = DNCStore(
        torch.addcmul(kept, written.unsqueeze(-1), change),
        torch.addcmul(used + written, used, written, value=-1),
        addressing.update_links(link, precedence, written),
        torch.addcmul(precedence + written, precedence, written.sum(-1, keepdim=True), value=-1),
    )
    return after, WriteCache(*store, spared, used, free, *ordered, similar, *compared, written)


def write_memory_backward(
    plan: InterfaceSpec,
    grad: DNCStore,
    to_written: Tensor,
    kept: WriteCache,
    read: Tensor,
    ask: InterfaceParams,
    to: InterfaceParams,
) -> tuple[DNCStore, Tensor]:
    """Gradients of the store before and of `read_memory`; those of `ask` are put into `to`. grad's memory and link are
    overwritten. to_written: what else there is of the weights' gradient."""
    written, used = kept.written, kept.used
    to_link, to_precedence, by_link = addressing.update_links_backward(grad.link, kept.link, kept.precedence, written)
    before = (grad.precedence * kept.precedence).sum(-1, keepdim=True)
    by_sums = grad.usage * (1 - used) + grad.precedence - before + by_link
    to_written = by_sums + to_written
    to_precedence = to_precedence + grad.precedence * (1 - written.sum(-1, keepdim=True))
    to_used = grad.usage * (1 - written)

    retained = kept.retention.prod(1)
    memory = kept.memory * retained.unsqueeze(-1) if plan.deallocation else kept.memory
    product = grad.memory * memory
    column, erase = written.unsqueeze(1), ask.erase.unsqueeze(1)
    to.write_value.copy_((column @ grad.memory).squeeze(1))
    to.erase.copy_((column @ product).squeeze(1)).neg_()
    to_written = to_written + (grad.memory @ ask.write_value.unsqueeze(-1)).squeeze(-1)
    to_written -= (product @ ask.erase.unsqueeze(-1)).squeeze(-1)
    to_memory = grad.memory.mul_(1 - written.unsqueeze(-1) * erase)
    to_retained = None
    if plan.deallocation:
        to_retained = (to_memory * kept.memory).sum(-1)
        to_memory.mul_(retained.unsqueeze(-1))

    gate, freely, similar = ask.gates[:, :1], ask.gates[:, 1:2], kept.similar.squeeze(1)
    to.gates[:, 0] = (to_written * torch.lerp(similar, kept.free, freely)).sum(-1)
    to_mix = to_written * gate
    to.gates[:, 1] = (to_mix * (kept.free - similar)).sum(-1)
    to_free = to_mix * freely
    to_used += addressing.allocation_weights_backward(to_free, (kept.order, kept.ordered, kept.left))
    mask = None if ask.write_mask is None else ask.write_mask.unsqueeze(1)
    to_key, to_strength, to_mask = addressing.content_weights_backward(
        (to_mix - to_free).unsqueeze(1),
        kept.similar,
        (kept.cosine, kept.of_key, kept.of_slots),
        (ask.write_key.unsqueeze(1), ask.write_strength, kept.memory, mask),
        to_memory,
    )
    to.write_key.copy_(to_key.squeeze(1))
    to.write_strength.copy_(to_strength)
    if to.write_mask is not None and to_mask is not None:
        to.write_mask.copy_(to_mask.squeeze(1))

    of_used = to_used * kept.usage
    to_retained = of_used if to_retained is None else of_used + to_retained
    to_spared = product_of_others(kept.retention) * to_retained.unsqueeze(1)
    to.gates[:, 2:] = -(to_spared * read).sum(-1)
    to_read = -to_spared * ask.gates[:, 2:].unsqueeze(-1)
    return DNCStore(to_memory, to_used * retained, to_link, to_precedence), to_read


def product_of_others(factors: Tensor) -> Tensor:
    """(B, R, S) -> (B, R, S): the product of all heads' but one's, whichever of them are 0."""
    one = torch.eye(factors.shape[1], dtype=torch.bool, device=factors.device).unsqueeze(-1)
    return factors.unsqueeze(1).masked_fill(one, 1).prod(2)


class ReadCache(NamedTuple):
    """What the gradient of a read wants to know."""

    mode_weights: Tensor  # (B, H, 3, S): before, by content, after
    cosine: Tensor
    of_keys: Tensor
    of_slots: Tensor
    weights: Tensor  # (B, H, S)
    logs: Tensor | None  # of what sharpens the links: before, after
    more_logs: Tensor | None


def read_memory(plan: InterfaceSpec, store: DNCStore, last: Tensor, ask: InterfaceParams) -> tuple[Tensor, ReadCache]:
    """What all heads read, (B, H, W); last (B, H, S): their weights in the step before."""
    keys, strengths, masks, powers, modes = per_head(plan, ask)
    before, after = last @ store.link, last @ store.link.mT
    first = second = None
    if powers is not None:
        before, first = addressing.sharpen(before, powers[..., 0])
        after, second = addressing.sharpen(after, powers[..., 1])
    similar, compared = addressing.content_weights(keys, strengths, store.memory, masks)
    ways = torch.stack([before, similar, after], 2)
    weights = (modes.unsqueeze(-2) @ ways).squeeze(-2)
    return weights @ store.memory, ReadCache(ways, *compared, weights, first, second)


def read_memory_backward(
    plan: InterfaceSpec,
    grad: DNCStore,
    to_weights: Tensor,
    to_values: Tensor,
    kept: ReadCache,
    store: DNCStore,
    last: Tensor,
    ask: InterfaceParams,
    to: InterfaceParams,
) -> tuple[DNCStore, Tensor]:
    """Gradients of the store that was read, in tensors of their own, and of `last`; those of `ask` go into `to`."""
    keys, strengths, masks, powers, modes = per_head(plan, ask)
    to_weights = torch.baddbmm(to_weights, to_values, store.memory.mT)
    to_memory = torch.baddbmm(grad.memory, kept.weights.mT, to_values)
    to.modes.copy_((kept.mode_weights @ to_weights.unsqueeze(-1)).view_as(to.modes))
    to_before, to_similar, to_after = (modes.unsqueeze(-1) * to_weights.unsqueeze(2)).unbind(2)
    to_keys, to_strengths, to_masks = addressing.content_weights_backward(
        to_similar,
        kept.mode_weights[:, :, 1],
        (kept.cosine, kept.of_keys, kept.of_slots),
        (keys, strengths, store.memory, masks),
        to_memory,
    )
    to.keys.copy_(to_keys.view_as(to.keys))
    to.strengths.copy_(to_strengths.view_as(to.strengths))
    if to.masks is not None and to_masks is not None:
        to.masks.copy_(to_masks.view_as(to.masks))
    if powers is not None and to.sharpness is not None and kept.logs is not None and kept.more_logs is not None:
        before, _, after = kept.mode_weights.unbind(2)
        to_before, first = addressing.sharpen_backward(to_before, before, kept.logs, powers[..., 0])
        to_after, second = addressing.sharpen_backward(to_after, after, kept.more_logs, powers[..., 1])
        to.sharpness.copy_(torch.stack([first, second], -1).view_as(to.sharpness))
    to_last = torch.baddbmm(to_after @ store.link, to_before, store.link.mT)
    to_link = torch.baddbmm(grad.link, torch.cat([to_after, last], 1).mT, torch.cat([last, to_before], 1))
    return grad._replace(memory=to_memory, link=to_link), to_last


def per_head(plan: InterfaceSpec, ask: InterfaceParams) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None, Tensor]:
    """What each head of all members asks for, (B, H, .): keys, strengths, masks, powers of links, modes."""
    heads = ask.strengths.shape[1] * plan.heads

    def each(part: Tensor, size: int) -> Tensor:
        return part.reshape(len(part), heads, size)

    return (
        each(ask.keys, plan.width),
        ask.strengths.flatten(1),
        None if ask.masks is None else each(ask.masks, plan.width),
        None if ask.sharpness is None else each(ask.sharpness, 2),
        each(ask.modes, 3),
    )


class StepOutput(NamedTuple):
    """What comes of a step: the store's parts; of each member weights of writing and reading, what it read, gates."""

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
    plan: InterfaceSpec, present: Tensor | None, interface: Tensor, last: Tensor, *parts: Tensor
) -> tuple[StepOutput, list[Tensor], list[WriteCache], ReadCache]:
    """Plain operations. Members write one after the other, then all read; also what the gradient wants to know.

    present (B, N) or None for all; interface (B, N, I), last (B, N, R, S): read weights; parts: of the `DNCStore`.
    """
    groups, store, wrote = plan.decode(interface), DNCStore(*parts), []
    ask = plan.assemble(*groups)
    if present is not None:  # who is not there opens no gate
        ask = ask._replace(gates=ask.gates * present.unsqueeze(-1))
    for member in range(interface.shape[1]):
        store, kept = write_memory(plan, store, last[:, member], ask.member(member))
        wrote.append(kept)
    values, found = read_memory(plan, store, last.flatten(1, 2), ask)
    written = torch.stack([kept.written for kept in wrote], 1)
    values = values.view(*last.shape[:2], plan.heads * plan.width)
    out = StepOutput(*store, written, found.weights.view_as(last), values, ask.gates, ask.modes)
    return out, list(groups), wrote, found


class DNCStepFunction(Function):
    """`step_ops`, as one function."""

    @staticmethod
    def forward(ctx, plan, present, interface, last, *parts):
        out, groups, wrote, found = step_ops(plan, present, interface, last, *parts)
        ctx.plan, ctx.members = plan, len(wrote)
        kept = [part for each in wrote for part in each]
        ctx.save_for_backward(present, interface, last, *groups, *out[: len(DNCStore._fields)], *found, *kept)
        gates, modes = out.gates.clone(), out.modes.clone()
        ctx.mark_non_differentiable(gates, modes)
        return tuple(out._replace(gates=gates, modes=modes))

    @staticmethod
    def backward(ctx, *grads):
        plan, grad = ctx.plan, StepOutput(*grads)
        present, interface, last, *saved = ctx.saved_tensors
        groups, saved = saved[:4], saved[4:]
        store, saved = DNCStore(*saved[:4]), saved[4:]
        size = len(ReadCache._fields)
        found, saved = ReadCache(*saved[:size]), saved[size:]
        if torch.is_grad_enabled():  # create_graph=True: by plain operations, which have second derivatives
            first = DNCStore(*saved[: len(DNCStore._fields)])  # what the first member found
            plain = partial(_plain, plan, present)
            return None, None, *differentiable_gradients(plain, (interface, last, *first), (*grads[:-2], None, None))
        ask, to_groups = plan.assemble(*groups), [torch.empty_like(group) for group in groups]
        to = plan.assemble(*to_groups)
        if present is not None:
            ask = ask._replace(gates=ask.gates * present.unsqueeze(-1))
        heads = last.flatten(1, 2)
        to_weights, to_values = grad.weights.flatten(1, 2), grad.values.reshape(*heads.shape[:2], plan.width)
        to_store, to_last = read_memory_backward(
            plan, DNCStore(*grads[:4]), to_weights, to_values, found, store, heads, ask, to
        )
        to_last = to_last.view_as(last)
        size = len(WriteCache._fields)
        for member in reversed(range(ctx.members)):
            wrote = WriteCache(*saved[member * size : (member + 1) * size])
            to_store, more = write_memory_backward(
                plan, to_store, grad.written[:, member], wrote, last[:, member], ask.member(member), to.member(member)
            )
            to_last[:, member] += more
        if present is not None:
            to.gates.mul_(present.unsqueeze(-1))
        _, _, above, _ = plan.split(interface)
        return None, None, plan.decode_backward(to_groups, groups, above), to_last, *to_store


def _plain(plan: InterfaceSpec, present: Tensor | None, interface: Tensor, last: Tensor, *parts: Tensor) -> StepOutput:
    return step_ops(plan, present, interface, last, *parts)[0]


def step(plan: InterfaceSpec, present: Tensor | None, interface: Tensor, last: Tensor, store: DNCStore) -> StepOutput:
    """A step of all members. Under torch.func, and for the compiler, in plain operations."""
    if functorch_active() or torch.compiler.is_compiling():
        return _plain(plan, present, interface, last, *store)
    return StepOutput(*DNCStepFunction.apply(plan, present, interface, last, *store))
