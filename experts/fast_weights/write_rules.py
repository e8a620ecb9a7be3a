"""Feed-forward network as a key-value memory: its read, and two write rules (Munkhdalai et al. 2019).

Both rules change each layer by outer products, M <- M - sum_q delta_q z_q^T: z_q is the layer's input for write key q
in the network before the write, delta_q the layer's error times the write rate of q.

Shapes: S stores, Q writes, R reads, L layers, D width.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from experts.activation_gradients import tanh_backward

FastWeights = tuple[Tensor, ...]  # L of (S, D, D): f(k) = M_L tanh(... tanh(M_1 k)), without biases
Errors = Callable[[FastWeights, list[Tensor], Tensor], list[Tensor]]  # (memory, activations, targets) -> errors


def activations(memory: FastWeights, keys: Float[Tensor, "S Q D"]) -> list[Tensor]:
    """Activations of the keys and of all layers, L + 1 of (S, Q, D); the last are the values read."""
    acts = [keys]
    for m in memory[:-1]:
        acts.append(torch.tanh(acts[-1] @ m.mT))
    return [*acts, acts[-1] @ memory[-1].mT]


def local_errors(memory: FastWeights, acts: list[Tensor], targets: Float[Tensor, "S Q LD"]) -> list[Tensor]:
    """Errors z - zhat of each layer, with the concatenated targets zhat of all layers (eq. 4)."""
    return [z - target for z, target in zip(acts[1:], targets.chunk(len(memory), -1), strict=True)]


def gradient_errors(memory: FastWeights, acts: list[Tensor], targets: Float[Tensor, "S Q D"]) -> list[Tensor]:
    """Half the gradient of ||f(k) - v||^2 with respect to each layer's preactivation (eq. 2 and 3)."""
    errors = [acts[-1] - targets]
    for m, z in zip(memory[:0:-1], acts[-2:0:-1], strict=True):
        errors.append(tanh_backward(errors[-1] @ m, z))
    return errors[::-1]


def local_backward(
    memory: FastWeights, acts: list[Tensor], errors: list[Tensor], grad_errors: list[Tensor], grad_acts: list[Tensor],
    grad_memory: list[Tensor],
) -> Tensor:  # fmt: skip
    """Backward pass of `local_errors`; see `WriteRule`."""
    for i, grad_error in enumerate(grad_errors, 1):
        grad_acts[i] = grad_acts[i] + grad_error
    return -torch.cat(grad_errors, -1)


def gradient_backward(
    memory: FastWeights, acts: list[Tensor], errors: list[Tensor], grad_errors: list[Tensor], grad_acts: list[Tensor],
    grad_memory: list[Tensor],
) -> Tensor:  # fmt: skip
    """Backward pass of `gradient_errors`; see `WriteRule`."""
    grad_error = grad_errors[0]
    for i in range(1, len(memory)):
        z, error, m = acts[i], errors[i], memory[i]
        grad_acts[i] = torch.addcmul(grad_acts[i], grad_error * z, error @ m, value=-2)
        grad_input = tanh_backward(grad_error, z)
        grad_memory[i].baddbmm_(error.mT, grad_input)
        grad_error = torch.baddbmm(grad_errors[i], grad_input, m.mT)
    grad_acts[-1] = grad_acts[-1] + grad_error
    return -grad_error


class WriteRule(NamedTuple):
    """A write rule: the errors of each layer, and their backward pass.

    Args:
        errors: (memory, activations, targets) -> errors of each layer.
        backward: (memory, activations, errors, gradients of errors, of activations, of memory) -> gradient of the
            targets; it adds to the gradients of activations and memory in place.
    """

    errors: Errors
    backward: Callable[..., Tensor]


RULES = {"local": WriteRule(local_errors, local_backward), "gradient": WriteRule(gradient_errors, gradient_backward)}


def write(
    memory: FastWeights, acts: list[Tensor], errors: list[Tensor], write_rate: Float[Tensor, "S Q 1"]
) -> FastWeights:
    """The memory after all writes, each with its write rate."""
    # the method: the function torch.baddbmm would be rounded by `precision="bf16"`, together with the memory
    return tuple(m.baddbmm((write_rate * e).mT, z, alpha=-1) for m, e, z in zip(memory, errors, acts, strict=False))


def write_read(
    errors: Errors,
    memory: FastWeights,
    keys: Float[Tensor, "S Q D"],
    targets: Float[Tensor, "S Q _"],
    write_rate: Float[Tensor, "S Q 1"],
    queries: Float[Tensor, "S R D"],
) -> tuple[FastWeights, Float[Tensor, "S R D"]]:
    """Writes, then reads: the new memory and the values read.

    targets: of the write rule, for each write. write_rate: write rate of each write; 0 for no write.
    """
    acts = activations(memory, keys)
    memory = write(memory, acts, errors(memory, acts, targets), write_rate)
    return memory, activations(memory, queries)[-1]
