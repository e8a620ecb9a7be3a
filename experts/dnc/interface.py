"""Interface vector of a differentiable neural computer: its parts, sizes and activations (Graves et al. 2016).

Shapes: B store, N members, R read heads of each, W slot size, I interface size.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import softplus

from experts.activation_gradients import sigmoid_backward, softmax_backward


class InterfaceParams(NamedTuple):
    """The parts of an interface vector, or their gradients; each (B, N, .), with R heads concatenated."""

    write_key: Tensor
    write_value: Tensor
    keys: Tensor
    erase: Tensor
    gates: Tensor  # write gate, allocation gate, free gate of each read head: 2 + R
    write_mask: Tensor | None
    masks: Tensor | None
    write_strength: Tensor
    strengths: Tensor
    sharpness: Tensor | None  # for each head: of the backward and of the forward links: 2 R
    modes: Tensor  # for each head: backward, content, forward: 3 R

    def member(self, member: int) -> "InterfaceParams":
        """The parts of one member, each (B, .)."""
        return InterfaceParams(*(None if part is None else part[:, member] for part in self))  # type: ignore[arg-type]


class InterfaceSpec(NamedTuple):
    """Layout of an interface vector: read heads, slot size, and the three options of `DNC`."""

    heads: int
    width: int
    masking: bool
    deallocation: bool
    sharpness: bool

    @property
    def groups(self) -> tuple[list[int], ...]:
        """Sizes of the parts by activation: identity, sigmoid, oneplus, softmax; 0 for a part that is switched off."""
        r, w = self.heads, self.width
        masks = [w, r * w] if self.masking else [0, 0]
        return [w, w, r * w], [w, 2 + r, *masks], [1, r, 2 * r * self.sharpness], [3 * r]

    @property
    def size(self) -> int:
        """Size I of an interface vector."""
        return sum(map(sum, self.groups))

    def split(self, interface: Tensor) -> tuple[Tensor, ...]:
        """The four groups before their activations."""
        return interface.split([sum(group) for group in self.groups], -1)

    def assemble(self, raw: Tensor, sigmoids: Tensor, oneplus: Tensor, modes: Tensor) -> InterfaceParams:
        """The parts, as views of the four groups."""
        parts = [
            part if part.shape[-1] else None
            for i, group in enumerate((raw, sigmoids, oneplus, modes))
            for part in group.split(self.groups[i], -1)
        ]
        return InterfaceParams(*parts)  # type: ignore[arg-type]

    def decode(self, interface: Tensor) -> tuple[Tensor, ...]:
        """The four groups after their activations."""
        raw, sigmoids, oneplus, modes = self.split(interface)
        mode_weights = torch.softmax(modes.unflatten(-1, (self.heads, 3)), -1)
        return raw, torch.sigmoid(sigmoids), softplus(oneplus) + 1, mode_weights.flatten(-2)

    def decode_backward(self, grad_groups: Sequence[Tensor], groups: Sequence[Tensor], oneplus: Tensor) -> Tensor:
        """Gradient of the interface; groups: results of `decode`; oneplus: the third group before its activation."""
        grad_raw, grad_sigmoids, grad_oneplus, grad_modes = grad_groups
        sigmoids, modes = groups[1], groups[3]
        per_head = (self.heads, 3)
        return torch.cat(
            [
                grad_raw,
                sigmoid_backward(grad_sigmoids, sigmoids),
                grad_oneplus * torch.sigmoid(oneplus),
                softmax_backward(grad_modes.unflatten(-1, per_head), modes.unflatten(-1, per_head)).flatten(-2),
            ],
            -1,
        )
