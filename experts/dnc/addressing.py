"""Addressing of a differentiable neural computer: content, allocation and temporal links, with backward passes.

Each function returns its result and the tensors that its backward pass needs. The equations are those of Graves et al.
2016 (Nature 538, Methods), and of Csordas and Schmidhuber 2019 (arXiv:1904.10278) for masks and sharpened links.

Shapes: B store, H head, S slot, W slot size.
"""

import torch
from torch import Tensor
from torch.nn.functional import pad

from experts.activation_gradients import softmax_backward
from experts.torch_internals import functorch_active

EPS = 1e-6  # added in norms, usages and links, where 0 has no gradient, inverse or logarithm
USAGE_LEVELS = 1e4  # usages are rounded to 1 / USAGE_LEVELS before slots are sorted; equal ones keep their order

Saved = tuple[Tensor, Tensor, Tensor]


def content_weights(keys: Tensor, strengths: Tensor, memory: Tensor, masks: Tensor | None) -> tuple[Tensor, Saved]:
    """Content weights (B, H, S): softmax of strength times cosine similarity.

    keys, masks (B, H, W), strengths (B, H), memory (B, S, W). |v| is sqrt(sum v^2 + 1e-6), so that an empty slot has
    similarity 0 to every key. A mask multiplies key and slot.
    """
    masked_keys = keys if masks is None else keys * masks
    key_norms = (masked_keys.square().sum(-1, keepdim=True) + EPS).rsqrt()  # (B, H, 1)
    if masks is None:
        slot_norms = (memory.square().sum(-1) + EPS).rsqrt().unsqueeze(1)  # (B, 1, S)
    else:
        slot_norms = (masks.square() @ memory.square().mT + EPS).rsqrt()  # (B, H, S)
        masked_keys = masked_keys * masks
    cosine = masked_keys @ memory.mT * key_norms * slot_norms
    return torch.softmax(cosine * strengths.unsqueeze(-1), -1), (cosine, key_norms, slot_norms)


def content_weights_backward(
    grad: Tensor,
    weights: Tensor,
    saved: Saved,
    inputs: tuple[Tensor, Tensor, Tensor, Tensor | None],
    grad_memory: Tensor,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Gradients of keys, strengths and masks; that of the memory is added to `grad_memory`, in place."""
    (cosine, key_norms, slot_norms), (keys, strengths, memory, masks) = saved, inputs
    grad_scores = softmax_backward(grad, weights)
    grad_cosine = grad_scores * strengths.unsqueeze(-1)
    grad_products, scaled = grad_cosine * key_norms * slot_norms, grad_cosine * cosine
    key_scale, slot_scale = scaled.sum(-1, keepdim=True) * key_norms.square(), scaled * slot_norms.square()
    grad_strengths, grad_seen = (grad_scores * cosine).sum(-1), grad_products @ memory
    if masks is None:
        grad_memory.baddbmm_(grad_products.mT, keys).addcmul_(memory, slot_scale.sum(1).unsqueeze(-1), value=-1)
        return torch.addcmul(grad_seen, keys, key_scale, value=-1), grad_strengths, None
    masked_keys = keys * masks
    grad_masked_keys = grad_seen * masks - masked_keys * key_scale
    grad_masks = grad_seen * masked_keys + grad_masked_keys * keys - masks * (slot_scale @ memory.square())
    grad_memory.baddbmm_(grad_products.mT, masked_keys * masks).addcmul_(
        memory, slot_scale.mT @ masks.square(), value=-1
    )
    return grad_masked_keys * masks, grad_strengths, grad_masks


def allocation_weights(usage: Tensor) -> tuple[Tensor, Saved]:
    """Allocation weights (B, S), with a sum of at most 1: (1 - usage) times the usages of all slots with less usage.

    A usage u is replaced by 1e-6 + (1 - 1e-6) u, so that a product over empty slots has a gradient. The sorting order
    has none; usages are rounded before sorting, so that rounding errors do not determine it.
    """
    order = (usage.detach() * USAGE_LEVELS).round().argsort(dim=-1, stable=True)
    used = usage.gather(-1, order) * (1 - EPS) + EPS
    remaining = used.cumprod(-1)  # of the write weight, after the j-th slot in sorted order
    allocated = pad(remaining[:, :-1], (1, 0), value=1) - remaining
    return torch.zeros_like(usage).scatter(-1, order, allocated), (order, used, remaining)


def allocation_weights_backward(grad: Tensor, saved: Saved) -> Tensor:
    """Gradient of the usage."""
    order, used, remaining = saved
    grad = grad.gather(-1, order)
    grad_remaining = pad(grad[:, 1:], (0, 1)) - grad
    grad_used = (grad_remaining * remaining).flip(-1).cumsum(-1).flip(-1) / used
    return torch.zeros_like(grad).scatter(-1, order, grad_used * (1 - EPS))


def update_links(link: Tensor, precedence: Tensor, written: Tensor) -> Tensor:
    """Temporal links (B, S, S) after a write: L[i, j] is the degree to which slot i was written right after slot j.

    With write weights w (B, S) and precedence p, L[i, j] becomes L[i, j] (1 - w[i] - w[j]) + w[i] p[j], and 0 where
    i = j; computed as L + w[i] (p[j] - L) - w[j] L.
    """
    updated = torch.lerp(link, precedence.unsqueeze(-2), written.unsqueeze(-1))
    # in place where vmap does not forbid it: allocating the new matrix is the largest cost
    subtract = torch.addcmul if functorch_active() else Tensor.addcmul_
    updated = subtract(updated, link, written.unsqueeze(-2), value=-1)
    updated.diagonal(dim1=-2, dim2=-1).zero_()
    return updated


def update_links_backward(
    grad: Tensor, link: Tensor, precedence: Tensor, written: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of link, precedence and weights; `grad` is overwritten."""
    grad.diagonal(dim1=-2, dim2=-1).zero_()
    row, column = written.unsqueeze(-1), written.unsqueeze(-2)
    grad_precedence = (column @ grad).squeeze(-2)
    buffer = grad * link
    decay = buffer.sum(-1) + buffer.sum(-2)
    grad_written = torch.mul(grad, precedence.unsqueeze(-2), out=buffer).sum(-1) - decay
    return grad.mul_(torch.sub(1 - row, column, out=buffer)), grad_precedence, grad_written


def sharpen(weights: Tensor, power: Tensor) -> tuple[Tensor, Tensor]:
    """Normalized (weights + 1e-6) ** power, and log(weights + 1e-6); weights (B, H, S), power (B, H)."""
    logs = (weights + EPS).log()
    return torch.softmax(logs * power.unsqueeze(-1), -1), logs


def sharpen_backward(grad: Tensor, out: Tensor, logs: Tensor, power: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of weights and power; out, logs: results of `sharpen`."""
    grad_scores = softmax_backward(grad, out)
    return grad_scores * power.unsqueeze(-1) / logs.exp(), (grad_scores * logs).sum(-1)
