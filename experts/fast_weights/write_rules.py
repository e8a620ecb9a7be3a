"""A memory that is a feed-forward network: what it recalls, and two rules to write to it (Munkhdalai et al. 2019).

Both rules change each layer by outer products, M <- M - sum_q delta_q z_q^T: z_q is what the layer ate when write key q
went through the network of before, delta_q the layer's error times the share of q.

Shapes: S stores, Q writes, R reads, L layers, D width.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from experts.torch_internals import tanh_backward

FastWeights = tuple[Tensor, ...]  # L of (S, D, D): f(k) = M_L tanh(... tanh(M_1 k)), without biases
Errors = Callable[[FastWeights, list[Tensor], Tensor], list[Tensor]]  # (memory, activations, targets) -> errors


def activations(memory: FastWeights, keys: Float[Tensor, "S Q D"]) -> list[Tensor]:
    """Of all layers, L + 1 of (S, Q, D): the keys themselves first, what is recalled last."""
    zs = [keys]
    for m in memory[:-1]:
        zs.append(torch.tanh(zs[-1] @ m.mT))
    return [*zs, zs[-1] @ memory[-1].mT]


def local_errors(memory: FastWeights, zs: list[Tensor], targets: Float[Tensor, "S Q LD"]) -> list[Tensor]:
    """Each layer's own error z - zhat; the targets zhat of all layers side by side (eq. 4)."""
    return [z - target for z, target in zip(zs[1:], targets.chunk(len(memory), -1), strict=True)]


def gradient_errors(memory: FastWeights, zs: list[Tensor], targets: Float[Tensor, "S Q D"]) -> list[Tensor]:
    """The error of what is recalled, carried back through the layers: half the gradient of ||f(k) - v||^2 with respect
    to each layer's sum (eq. 2 and 3)."""
    errors = [zs[-1] - targets]
    for m, z in zip(memory[:0:-1], zs[-2:0:-1], strict=True):
        errors.append(tanh_backward(errors[-1] @ m, z))
    return errors[::-1]


def local_backward(
    memory: FastWeights, zs: list[Tensor], errors: list[Tensor], to_errors: list[Tensor], to_zs: list[Tensor],
    to_memory: list[Tensor],
) -> Tensor:  # fmt: skip
    """See `WriteRule`."""
    for i, to_error in enumerate(to_errors, 1):
        to_zs[i] = to_zs[i] + to_error
    return -torch.cat(to_errors, -1)


def gradient_backward(
    memory: FastWeights, zs: list[Tensor], errors: list[Tensor], to_errors: list[Tensor], to_zs: list[Tensor],
    to_memory: list[Tensor],
) -> Tensor:  # fmt: skip
    """See `WriteRule`."""
    carried = to_errors[0]
    for i in range(1, len(memory)):
        z, error, m = zs[i], errors[i], memory[i]
        to_zs[i] = torch.addcmul(to_zs[i], carried * z, error @ m, value=-2)
        through = tanh_backward(carried, z)
        to_memory[i].baddbmm_(error.mT, through)
        carried = torch.baddbmm(to_errors[i], through, m.mT)
    to_zs[-1] = to_zs[-1] + carried
    return -carried


class WriteRule(NamedTuple):
    """errors: of each layer. backward: its backward pass, (memory, activations, errors, gradients of the errors, of the
    activations, of the memory) -> gradient of the targets; it adds to the gradients of activations and memory."""

    errors: Errors
    backward: Callable[..., Tensor]


RULES = {"local": WriteRule(local_errors, local_backward), "gradient": WriteRule(gradient_errors, gradient_backward)}


def write(memory: FastWeights, zs: list[Tensor], errors: list[Tensor], share: Float[Tensor, "S Q 1"]) -> FastWeights:
    """The memory with each write in it, as much as its share says."""
    # the method, for as a function it is among the products that `precision="bf16"` rounds, with the memory in it
    return tuple(m.baddbmm((share * e).mT, z, alpha=-1) for m, e, z in zip(memory, errors, zs, strict=False))


def write_read(
    errors: Errors,
    memory: FastWeights,
    keys: Float[Tensor, "S Q D"],
    targets: Float[Tensor, "S Q _"],
    share: Float[Tensor, "S Q 1"],
    queries: Float[Tensor, "S R D"],
) -> tuple[FastWeights, Float[Tensor, "S R D"]]:
    """Writes, then reads: the memory after it, and what it then recalls.

    targets: what the rule wants of each write. share: how much each counts, 0 for none.
    """
    zs = activations(memory, keys)
    memory = write(memory, zs, errors(memory, zs, targets), share)
    return memory, activations(memory, queries)[-1]
