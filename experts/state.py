"""States are values: nested tuples (NamedTuples included) whose leaves are tensors, batch axis first, or a `Leaf`.

A `Leaf` is what a plain tensor cannot be: storage that is shared between the steps of an episode
(`experts.episodic.row_log.RowLog`). The verbs below are all that the rest of the project knows about a state, so
that no part ever looks inside another part's. `None` stands for "nothing here" and passes through every verb.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

State: TypeAlias = Any  # Tensor | Leaf | None | tuple of State; recursive types do not survive run-time checks
Packed: TypeAlias = Any  # Tensor | dict | None | list of Packed


class Leaf(ABC):
    """A leaf with its own storage. Its leading axes are those of the state it is part of: (B,) or (B, N)."""

    @abstractmethod
    def detach(self) -> "Leaf":
        """The same content, cut off from the graph that made it."""

    @abstractmethod
    def where(self, mask: Tensor, fresh: "Leaf") -> "Leaf":
        """`fresh` in the rows of mask, (B,) or the leaf's leading axes; self elsewhere."""

    @abstractmethod
    def index(self, rows: Tensor, axis: int = 0) -> "Leaf":
        """Rows of one of the leading axes, in the order given, repeated where named twice."""

    @abstractmethod
    def fold(self) -> "Leaf":
        """Leading axes (B, N) become one (B * N,)."""

    @abstractmethod
    def unfold(self, n: int) -> "Leaf":
        """Leading axis (B * n,) becomes two (B, n)."""

    @abstractmethod
    def pack(self) -> dict[str, Any]:
        """Plain types and tensors only."""

    @abstractmethod
    def unpack(self, packed: dict[str, Any]) -> "Leaf":
        """A leaf of this leaf's kind and options, with the content that `pack` gave."""


def _walk(visit: Callable[..., Any], state: State, *others: State) -> State:
    if state is None and all(other is None for other in others):
        return None
    if isinstance(state, tuple):
        parts = [_walk(visit, *children) for children in zip(state, *others, strict=True)]
        return _rebuild(state, parts)
    if isinstance(state, Tensor | Leaf):
        return visit(state, *others)
    raise TypeError(f"a state holds tensors, Leaf objects, None and tuples of these; got {type(state).__name__}")


def _rebuild(like: tuple, parts: Sequence[Any]) -> tuple:
    return type(like)(*parts) if hasattr(like, "_fields") else tuple(parts)


def expand_mask(mask: Tensor, axes: int) -> Tensor:
    """A mask over leading axes, shaped to broadcast against a tensor of so many."""
    return mask.reshape(mask.shape + (1,) * (axes - mask.dim()))


def map(visit: Callable[[Tensor], Tensor], state: State) -> State:
    """`visit` applied to every tensor; other leaves must not occur (use a verb for those)."""
    return _walk(visit, state)


def detach(state: State) -> State:
    """The same values, cut off from the graph that made them."""
    return _walk(lambda leaf: leaf.detach(), state)


def where(mask: Tensor, fresh: State, state: State) -> State:
    """`fresh` in the rows of `mask`, `state` elsewhere. mask: bool, (B,), or (B, N) where every leaf has both axes."""

    def choose(new: Any, old: Any) -> Any:
        if isinstance(old, Leaf):
            return old.where(mask, new)
        return torch.where(expand_mask(mask, old.dim()), new, old)

    return _walk(choose, fresh, state)


def index(state: State, rows: Tensor) -> State:
    """Episodes `rows` (int64) of a state, in that order."""
    return _walk(lambda leaf: leaf.index(rows) if isinstance(leaf, Leaf) else leaf[rows], state)


def cat(parts: Sequence[State], sizes: Sequence[int]) -> State:
    """The episodes of several states, one after the other; sizes: how many each has."""

    def joined(*leaves: Any) -> Any:
        if not isinstance(leaves[0], Leaf):
            return torch.cat(leaves)
        whole, count = leaves[0], sizes[0]
        for leaf, size in zip(leaves[1:], sizes[1:], strict=True):
            row = torch.arange(count + size, device=device)
            later = leaf.index((row - count).clamp(min=0))
            whole, count = whole.index(row.clamp(max=count - 1)).where(row >= count, later), count + size
        return whole

    device = _device(parts[0])
    return _walk(joined, *parts)


def _device(state: State) -> torch.device | None:
    """Of its first tensor."""
    if isinstance(state, tuple):
        return next((device for part in state if (device := _device(part)) is not None), None)
    return state.device if isinstance(state, Tensor) else None


def select_members(state: State, index: Tensor) -> State:
    """Members `index` (int64) of axis 1, in that order. Every leaf must have that axis."""
    return _walk(lambda leaf: leaf.index(index, 1) if isinstance(leaf, Leaf) else leaf[:, index], state)


def select_or_reset_members(state: State, fresh: State, index: Tensor) -> State:
    """Members `index` of a state; where it is -1, those of `fresh`, which has as many as the index."""
    return where((index < 0).unsqueeze(0), fresh, select_members(state, index.clamp(min=0)))


def fold(state: State) -> State:
    """(B, N, ...) leaves become (B * N, ...)."""
    return _walk(lambda leaf: leaf.fold() if isinstance(leaf, Leaf) else leaf.flatten(0, 1), state)


def unfold(state: State, n: int) -> State:
    """(B * n, ...) leaves become (B, n, ...)."""
    return _walk(lambda leaf: leaf.unfold(n) if isinstance(leaf, Leaf) else leaf.unflatten(0, (-1, n)), state)


def pack(state: State) -> Packed:
    """Lists, dicts and detached tensors, which `torch.load(weights_only=True)` takes. `unpack` is the way back."""
    if state is None:
        return None
    if isinstance(state, tuple):
        return [pack(part) for part in state]
    return state.pack() if isinstance(state, Leaf) else state.detach().clone()


def unpack(packed: Packed, like: State) -> State:
    """The state that was packed. `like` (an initial state of the same core, of any batch) names the tuples' types.

    Raises:
        ValueError: the two do not have the same structure, so the state belongs to another core.
    """
    if isinstance(like, tuple):
        if not isinstance(packed, list) or len(packed) != len(like):
            got = f"{len(packed)} parts" if isinstance(packed, list) else type(packed).__name__
            raise ValueError(
                f"this packed state is not of a {type(like).__name__}: got {got}, want {len(like)} parts; "
                "unpack it with the initial state of the core that made it"
            )
        return _rebuild(like, [unpack(part, template) for part, template in zip(packed, like, strict=True)])
    if isinstance(like, Leaf):
        return like.unpack(packed)
    if not isinstance(packed, Tensor | None):  # what is None at the start of an episode may have come to be
        raise ValueError(f"a packed state holds {type(packed).__name__} where the core has {type(like).__name__}")
    return packed
