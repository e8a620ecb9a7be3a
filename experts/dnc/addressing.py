"""How a differentiable neural computer finds slots: by content, by what is free, by what was written before and after.

Each function gives what it found and what its gradient, written out beside it, wants to know again; the equations are
those of Graves et al. 2016 (Nature 538, Methods), and of Csordas and Schmidhuber 2019 (arXiv:1904.10278) for masks and
for sharpened links.

Shapes: B store, H head, S slot, W numbers in a slot.
"""

import torch
from torch import Tensor
from torch.nn.functional import pad

from experts.torch_internals import functorch_active, softmax_backward

EPS = 1e-6  # in a norm, of a usage, of a link: where 0 has no direction, no inverse, or no logarithm
USAGE_LEVELS = 1e4  # in a usage of 1: slots whose usages are rounded to the same are taken in their order

Saved = tuple[Tensor, Tensor, Tensor]


def content_weights(keys: Tensor, strengths: Tensor, memory: Tensor, masks: Tensor | None) -> tuple[Tensor, Saved]:
    """Shares (B, H, S): softmax of strength times cosine. keys, masks (B, H, W), strengths (B, H), memory (B, S, W).

    |v| is sqrt(sum v^2 + 1e-6), so that an empty slot is like no key. A mask multiplies key and slot alike.
    """
    asked = keys if masks is None else keys * masks
    of_keys = (asked.square().sum(-1, keepdim=True) + EPS).rsqrt()  # (B, H, 1)
    if masks is None:
        of_slots = (memory.square().sum(-1) + EPS).rsqrt().unsqueeze(1)  # (B, 1, S)
    else:
        of_slots = (masks.square() @ memory.square().mT + EPS).rsqrt()  # (B, H, S)
        asked = asked * masks
    cosine = asked @ memory.mT * of_keys * of_slots
    return torch.softmax(cosine * strengths.unsqueeze(-1), -1), (cosine, of_keys, of_slots)


def content_weights_backward(
    grad: Tensor, shares: Tensor, kept: Saved, inputs: tuple[Tensor, Tensor, Tensor, Tensor | None], to_memory: Tensor
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Gradients of keys, strengths and masks; that of the memory is added to `to_memory`, in place."""
    (cosine, of_keys, of_slots), (keys, strengths, memory, masks) = kept, inputs
    to_scores = softmax_backward(grad, shares)
    to_cosine = to_scores * strengths.unsqueeze(-1)
    to_products, shrunk = to_cosine * of_keys * of_slots, to_cosine * cosine
    by_key, by_slot = shrunk.sum(-1, keepdim=True) * of_keys.square(), shrunk * of_slots.square()
    to_strengths, to_seen = (to_scores * cosine).sum(-1), to_products @ memory
    if masks is None:
        to_memory.baddbmm_(to_products.mT, keys).addcmul_(memory, by_slot.sum(1).unsqueeze(-1), value=-1)
        return torch.addcmul(to_seen, keys, by_key, value=-1), to_strengths, None
    asked = keys * masks
    to_asked = to_seen * masks - asked * by_key
    to_masks = to_seen * asked + to_asked * keys - masks * (by_slot @ memory.square())
    to_memory.baddbmm_(to_products.mT, asked * masks).addcmul_(memory, by_slot.mT @ masks.square(), value=-1)
    return to_asked * masks, to_strengths, to_masks


def allocation_weights(usage: Tensor) -> tuple[Tensor, Saved]:
    """Shares (B, S), at most 1 together: what is free of a slot, (1 - usage), times the usages of all that are freer.

    Usages u are taken for 1e-6 + (1 - 1e-6) u, so that a product over empty slots has a gradient. In which order the
    slots come has none; where it hardly matters, rounding errors shall not choose.
    """
    order = (usage.detach() * USAGE_LEVELS).round().argsort(dim=-1, stable=True)
    used = usage.gather(-1, order) * (1 - EPS) + EPS
    left = used.cumprod(-1)  # of a write, after the j-th slot of the order has taken its share
    taken = pad(left[:, :-1], (1, 0), value=1) - left
    return torch.zeros_like(usage).scatter(-1, order, taken), (order, used, left)


def allocation_weights_backward(grad: Tensor, kept: Saved) -> Tensor:
    order, used, left = kept
    grad = grad.gather(-1, order)
    to_left = pad(grad[:, 1:], (0, 1)) - grad
    to_used = (to_left * left).flip(-1).cumsum(-1).flip(-1) / used
    return torch.zeros_like(grad).scatter(-1, order, to_used * (1 - EPS))


def update_links(link: Tensor, precedence: Tensor, written: Tensor) -> Tensor:
    """Links (B, S, S) after a write with weights (B, S): L[i, j] tells how much slot i was written right after slot j.

    L[i, j] (1 - w[i] - w[j]) + w[i] p[j], and 0 where i = j; here as L + w[i] (p[j] - L) - w[j] L.
    """
    after = torch.lerp(link, precedence.unsqueeze(-2), written.unsqueeze(-1))
    # in place, which vmap cannot: new room is what costs most
    less = torch.addcmul if functorch_active() else Tensor.addcmul_
    after = less(after, link, written.unsqueeze(-2), value=-1)
    after.diagonal(dim1=-2, dim2=-1).zero_()
    return after


def update_links_backward(
    grad: Tensor, link: Tensor, precedence: Tensor, written: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of link, precedence and weights; `grad` is overwritten."""
    grad.diagonal(dim1=-2, dim2=-1).zero_()
    row, column = written.unsqueeze(-1), written.unsqueeze(-2)
    to_precedence = (column @ grad).squeeze(-2)
    room = grad * link
    lost = room.sum(-1) + room.sum(-2)
    to_written = torch.mul(grad, precedence.unsqueeze(-2), out=room).sum(-1) - lost
    return grad.mul_(torch.sub(1 - row, column, out=room)), to_precedence, to_written


def sharpen(shares: Tensor, power: Tensor) -> tuple[Tensor, Tensor]:
    """shares ** power, divided by their sum: (B, H, S) and (B, H); shares are taken for 1e-6 more than they are."""
    logs = (shares + EPS).log()
    return torch.softmax(logs * power.unsqueeze(-1), -1), logs


def sharpen_backward(grad: Tensor, out: Tensor, logs: Tensor, power: Tensor) -> tuple[Tensor, Tensor]:
    to_scores = softmax_backward(grad, out)
    return to_scores * power.unsqueeze(-1) / logs.exp(), (to_scores * logs).sum(-1)
