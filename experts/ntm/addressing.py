"""Addressing of a neural Turing machine: content, interpolation, circular shift and sharpening, in plain operations.

Shapes: B memory, H head, S slot, W slot size, K shifts.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import softplus

from experts.dnc.addressing import content_weights, sharpen


class HeadParams(NamedTuple):
    """What a head's weights are computed from.

    Args:
        key: (B, H, W).
        strength: (B, H), at least 0, of the content weights.
        gate: (B, H), 1: content weights, 0: the previous weights.
        shifts: (B, H, K), probabilities of shifts by -(K // 2) to K // 2 slots.
        power: (B, H), at least 1, to which the shifted weights are raised.
    """

    key: Tensor
    strength: Tensor
    gate: Tensor
    shifts: Tensor
    power: Tensor


def head_size(slot_size: int, max_shift: int) -> int:
    """Numbers that a controller outputs for the weights of a head.

    Args:
        slot_size: W.
        max_shift: largest shift, in slots.
    """
    return slot_size + 1 + 1 + (2 * max_shift + 1) + 1


def decode_heads(interface: Tensor, slot_size: int) -> HeadParams:
    """The parameters of heads from the numbers (B, H, `head_size`) that a controller outputs for them.

    Args:
        interface: before the activations.
        slot_size: W.
    """
    key, strength, gate, shifts, power = interface.split([slot_size, 1, 1, interface.shape[-1] - slot_size - 3, 1], -1)
    return HeadParams(
        key,
        softplus(strength).squeeze(-1),
        torch.sigmoid(gate).squeeze(-1),
        torch.softmax(shifts, -1),
        softplus(power).squeeze(-1) + 1,
    )


def shift(weights: Tensor, shifts: Tensor) -> Tensor:
    """Circular convolution (B, H, S) of weights with probabilities of shifts (eq. 8).

    Args:
        weights: (B, H, S).
        shifts: (B, H, K), of shifts by -(K // 2) to K // 2 slots; a shift of 1 moves weight from slot i to slot i + 1.
    """
    reach = shifts.shape[-1] // 2
    moved = torch.stack([weights.roll(k, -1) for k in range(-reach, reach + 1)], -1)  # (B, H, S, K)
    return (moved @ shifts.unsqueeze(-1)).squeeze(-1)


def address(params: HeadParams, previous: Tensor, memory: Tensor) -> Tensor:
    """The weights (B, H, S) of heads over the slots, with a sum of 1 (Graves et al. 2014, section 3.3).

    Args:
        params: of the heads.
        previous: their previous weights.
        memory: (B, S, W).
    """
    content, _ = content_weights(params.key, params.strength, memory, None)
    gated = torch.lerp(previous, content, params.gate.unsqueeze(-1))
    weights, _ = sharpen(shift(gated, params.shifts), params.power)
    return weights
