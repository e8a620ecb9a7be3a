"""A memory that is a feed-forward network: what it recalls, and two rules to write to it (Munkhdalai et al. 2019).

Both rules change each layer by outer products, M <- M - sum_q delta_q z_q^T: z_q is what the layer ate when write key q
went through the network of before, delta_q the layer's error times the share of q.

Shapes: S stores, Q writes, R reads, L layers, D width.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from experts.cell import tanh_backward

Memory = tuple[Tensor, ...]  # L of (S, D, D): f(k) = M_L tanh(... tanh(M_1 k)), without biases
Rule = Callable[[Memory, list[Tensor], Tensor], list[Tensor]]  # (memory, activations, targets) -> errors


def activations(memory: Memory, keys: Float[Tensor, "S Q D"]) -> list[Tensor]:
    """Of all layers, L + 1 of (S, Q, D): the keys themselves first, what is recalled last."""
    zs = [keys]
    for m in memory[:-1]:
        zs.append(torch.tanh(zs[-1] @ m.mT))
    return [*zs, zs[-1] @ memory[-1].mT]


def local(memory: Memory, zs: list[Tensor], targets: Float[Tensor, "S Q LD"]) -> list[Tensor]:
    """Each layer's own error z - zhat; the targets zhat of all layers side by side (eq. 4)."""
    return [z - target for z, target in zip(zs[1:], targets.chunk(len(memory), -1), strict=True)]


def descent(memory: Memory, zs: list[Tensor], targets: Float[Tensor, "S Q D"]) -> list[Tensor]:
    """The error of what is recalled, carried back through the layers: half the gradient of ||f(k) - v||^2 with respect
    to each layer's sum (eq. 2 and 3)."""
    errors = [zs[-1] - targets]
    for m, z in zip(memory[:0:-1], zs[-2:0:-1], strict=True):
        errors.append(tanh_backward(errors[-1] @ m, z))
    return errors[::-1]


RULES: dict[str, Rule] = {"local": local, "gradient": descent}


def write_read(
    rule: Rule,
    memory: Memory,
    keys: Float[Tensor, "S Q D"],
    targets: Float[Tensor, "S Q _"],
    share: Float[Tensor, "S Q 1"],
    queries: Float[Tensor, "S R D"],
) -> tuple[Memory, Float[Tensor, "S R D"]]:
    """Writes, then reads: the memory after it, and what it then recalls.

    targets: what the rule wants of each write. share: how much each counts, 0 for none.
    """
    zs = activations(memory, keys)
    deltas = [share * error for error in rule(memory, zs, targets)]
    # the method, for as a function it is among the products that `precision="bf16"` rounds, with the memory in it
    memory = tuple(m.baddbmm(delta.mT, z, alpha=-1) for m, delta, z in zip(memory, deltas, zs, strict=False))
    return memory, activations(memory, queries)[-1]
