"""What the controller of a differentiable neural computer tells its store: the parts of a vector (Graves et al. 2016).

Shapes: B store, N members, R read heads of each, W numbers in a slot, I numbers of an interface.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import softplus

from experts.torch_internals import sigmoid_backward, softmax_backward


class InterfaceParams(NamedTuple):
    """What a controller wants of the store, or the gradients of it; each (B, N, .), where R heads lie side by side."""

    write_key: Tensor
    write_value: Tensor
    keys: Tensor
    erase: Tensor
    gates: Tensor  # of writing, of writing to what is free, and of freeing what each head read: 2 + R
    write_mask: Tensor | None
    masks: Tensor | None
    write_strength: Tensor
    strengths: Tensor
    sharpness: Tensor | None  # for each head: of what was written before, and of what was written after: 2 R
    modes: Tensor  # for each head: before, by content, after: 3 R

    def member(self, member: int) -> "InterfaceParams":
        return InterfaceParams(*(None if part is None else part[:, member] for part in self))  # type: ignore[arg-type]


class InterfaceSpec(NamedTuple):
    """What is known on the host: read heads, numbers in a slot, and the three improvements."""

    heads: int
    width: int
    masking: bool
    deallocation: bool
    sharpness: bool

    @property
    def groups(self) -> tuple[list[int], ...]:
        """Sizes of the parts of an `InterfaceParams`: as they are, sigmoids, oneplus, softmaxes; 0 for those that are not there."""
        r, w = self.heads, self.width
        masks = [w, r * w] if self.masking else [0, 0]
        return [w, w, r * w], [w, 2 + r, *masks], [1, r, 2 * r * self.sharpness], [3 * r]

    @property
    def size(self) -> int:
        """Numbers of an interface."""
        return sum(map(sum, self.groups))

    def split(self, interface: Tensor) -> tuple[Tensor, ...]:
        return interface.split([sum(group) for group in self.groups], -1)

    def assemble(self, raw: Tensor, bounded: Tensor, above: Tensor, modes: Tensor) -> InterfaceParams:
        """The parts, views of the four groups."""
        parts = [
            part if part.shape[-1] else None
            for group, sizes in zip((raw, bounded, above, modes), self.groups, strict=True)
            for part in group.split(sizes, -1)
        ]
        return InterfaceParams(*parts)  # type: ignore[arg-type]

    def decode(self, interface: Tensor) -> tuple[Tensor, ...]:
        raw, bounded, above, modes = self.split(interface)
        shares = torch.softmax(modes.unflatten(-1, (self.heads, 3)), -1)
        return raw, torch.sigmoid(bounded), softplus(above) + 1, shares.flatten(-2)

    def decode_backward(self, to_groups: Sequence[Tensor], groups: Sequence[Tensor], above: Tensor) -> Tensor:
        """The gradient of the interface; above: the third group as it came."""
        to_raw, to_bounded, to_above, to_modes = to_groups
        bounded, modes = groups[1], groups[3]
        each = (self.heads, 3)
        return torch.cat(
            [
                to_raw,
                sigmoid_backward(to_bounded, bounded),
                to_above * torch.sigmoid(above),
                softmax_backward(to_modes.unflatten(-1, each), modes.unflatten(-1, each)).flatten(-2),
            ],
            -1,
        )
