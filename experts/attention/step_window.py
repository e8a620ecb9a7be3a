"""The last steps of an episode as a part of a core's state, of a size that is known on the host.

Shapes: B episode, N members, R rows, T new steps.
"""

from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from torch.nn.functional import pad

from experts.state import Leaf, expand_mask
from experts.torch_internals import host_readable


class StepWindow(Leaf):
    """The last rows of each member, newest last, of which the last `count` are of its present episode.

    It begins without rows, so that a core knows on the host, without reading a value of the device, that no window has
    more than R rows: a sequence that begins here has no past, and a window that is not full needs not slide.

    Args:
        parts: values of each row, (B, R, ...) or (B, N, R, ...), with equal R.
        count: rows of the present episode, (B,) or (B, N).
    """

    def __init__(self, parts: tuple[Tensor, ...], count: Int[Tensor, "*B"]):
        self.parts, self.count = parts, count

    @property
    def rows(self) -> int:
        """R, rows of the member that has most of them, or more."""
        return self.parts[0].shape[self.count.dim()]

    def valid(self) -> Bool[Tensor, "*B R"]:
        """The rows of the present episode."""
        return torch.arange(self.rows, device=self.count.device) >= self.rows - self.count.unsqueeze(-1)

    def detach(self) -> "StepWindow":
        return StepWindow(tuple(part.detach() for part in self.parts), self.count)

    def where(self, mask: Tensor, initial: Leaf) -> "StepWindow":
        """Selects `initial` where the mask is set; parts that one of both does not have are dropped.

        Args:
            mask: (B,) or (B, N).
            initial: the other window.
        """
        assert isinstance(initial, StepWindow)
        mask = expand_mask(mask, self.count.dim()).expand(self.count.shape)
        if host_readable(mask) and (bool(mask.all()) or not bool(mask.any())):
            return initial if bool(mask.any()) else self
        size, axis = max(self.rows, initial.rows), self.count.dim()

        def select(new: Tensor, old: Tensor) -> Tensor:
            new, old = (_pad_front(part, size, axis) for part in (new, old))
            return torch.where(expand_mask(mask, old.dim()), new, old)

        parts = tuple(select(*both) for both in zip(initial.parts, self.parts, strict=False))
        return StepWindow(parts, torch.where(mask, initial.count, self.count))

    def index(self, rows: Tensor, axis: int = 0) -> "StepWindow":
        return self._map(lambda part: part.index_select(axis, rows))

    def fold(self) -> "StepWindow":
        return self._map(lambda part: part.flatten(0, 1))

    def unfold(self, n: int) -> "StepWindow":
        return self._map(lambda part: part.unflatten(0, (-1, n)))

    def pack(self) -> dict[str, Any]:
        return {"parts": [part.detach().clone() for part in self.parts], "count": self.count.clone()}

    def unpack(self, packed: dict[str, Any]) -> "StepWindow":
        if not isinstance(packed, dict) or set(packed) != {"parts", "count"}:
            raise ValueError(
                f"packed window: got {type(packed).__name__}, want a dict with the keys count, parts; unpack it with "
                "the initial state of the core that packed it"
            )
        return StepWindow(tuple(packed["parts"]), packed["count"])

    def _map(self, function: Any) -> "StepWindow":
        return StepWindow(tuple(map(function, self.parts)), function(self.count))


def _pad_front(part: Tensor, size: int, axis: int) -> Tensor:
    """The part with zeros before its rows, so that it has `size` of them."""
    missing = size - part.shape[axis]
    return part if not missing else pad(part, [0, 0] * (part.dim() - 1 - axis) + [missing, 0])
