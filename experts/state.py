"""Functions on states: nested tuples (NamedTuples included) of tensors with the batch axis first, or of `Leaf` objects.

A `Leaf` has storage that is shared between the steps of an episode (`experts.episodic.row_log.RowLog`). Other parts of
the project use states only through these functions, and never depend on the structure of another part's state. `None`
is an empty subtree, which each function returns unchanged.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

State: TypeAlias = Any  # Tensor | Leaf | None | tuple of State; recursive types do not survive run-time checks
Packed: TypeAlias = Any  # Tensor | dict | None | list of Packed


class Leaf(ABC):
    """Base class of leaves with their own storage. Their leading axes are those of the state: (B,) or (B, N)."""

    @abstractmethod
    def detach(self) -> "Leaf":
        """The same content, detached from its graph."""

    @abstractmethod
    def where(self, mask: Tensor, initial: "Leaf") -> "Leaf":
        """Selects `initial` where the mask is set, and self elsewhere.

        Args:
            mask: bool, (B,) or the leaf's leading axes.
            initial: the other leaf, of the same options.
        """

    @abstractmethod
    def index(self, rows: Tensor, axis: int = 0) -> "Leaf":
        """Selects entries of one of the leading axes.

        Args:
            rows: indices, in any order and with repetitions.
            axis: the axis, 0 or 1.
        """

    @abstractmethod
    def fold(self) -> "Leaf":
        """Folds the leading axes (B, N) into one, (B * N,)."""

    @abstractmethod
    def unfold(self, n: int) -> "Leaf":
        """Unfolds the leading axis (B * n,) into two, (B, n).

        Args:
            n: size of the second axis.
        """

    @abstractmethod
    def pack(self) -> dict[str, Any]:
        """The content as a dict of plain types and tensors."""

    @abstractmethod
    def unpack(self, packed: dict[str, Any]) -> "Leaf":
        """A leaf with the class and options of this one, and the packed content.

        Args:
            packed: result of `pack`.

        Raises:
            ValueError: the content of another class.
        """


def _walk(visit: Callable[..., Any], state: State, *others: State) -> State:
    if state is None and all(other is None for other in others):
        return None
    if isinstance(state, tuple):
        if any(len(other) != len(state) for other in others):
            raise ValueError(f"states with {[len(part) for part in (state, *others)]} parts, want equally many")
        # not zip(strict=True), which torch.compile before 2.10 cannot rebuild after a break of the graph
        parts = [_walk(visit, *[part[i] for part in (state, *others)]) for i in range(len(state))]
        return _rebuild(state, parts)
    if isinstance(state, Tensor | Leaf):
        return visit(state, *others)
    raise TypeError(f"a state holds tensors, Leaf objects, None and tuples of these; got {type(state).__name__}")


def _rebuild(like: tuple, parts: Sequence[Any]) -> tuple:
    return type(like)(*parts) if hasattr(like, "_fields") else tuple(parts)


def expand_mask(mask: Tensor, axes: int) -> Tensor:
    """A mask over leading axes, reshaped to broadcast against a tensor of `axes` axes."""
    missing = axes - mask.dim()
    return mask.reshape(mask.shape + (1,) * missing) if missing else mask


def map(visit: Callable[[Tensor], Tensor], state: State) -> State:
    """Applies `visit` to each tensor; the state must not have other leaves."""
    return _walk(visit, state)


def detach(state: State) -> State:
    """The same values, detached from their graph."""
    return _walk(lambda leaf: leaf.detach(), state)


def where(mask: Tensor, initial: State, state: State) -> State:
    """Selects `initial` where the mask is set, else `state`.

    mask: bool, (B,), or (B, N) if all leaves have both axes.
    """

    def choose(new: Any, old: Any) -> Any:
        if isinstance(old, Leaf):
            return old.where(mask, new)
        if not old.numel():  # such as identities of size 0: nothing to select
            return old
        return torch.where(expand_mask(mask, old.dim()), new, old)

    return _walk(choose, initial, state)


def index(state: State, rows: Tensor) -> State:
    """Selects the episodes `rows` (int64) of a state, in that order."""
    return _walk(lambda leaf: leaf.index(rows) if isinstance(leaf, Leaf) else leaf[rows], state)


def stack(steps: Sequence[State]) -> State:
    """Stacks the states of several steps along a new first axis; they must have no leaves but tensors."""
    return _walk(lambda *leaves: torch.stack(leaves), *steps)


def cat(parts: Sequence[State], sizes: Sequence[int]) -> State:
    """Concatenates the episodes of several states; sizes: number of episodes of each."""

    def concatenate(*leaves: Any) -> Any:
        if not isinstance(leaves[0], Leaf):
            return torch.cat(leaves)
        result, count = leaves[0], sizes[0]
        for leaf, size in zip(leaves[1:], sizes[1:], strict=True):
            row = torch.arange(count + size, device=device)
            later = leaf.index((row - count).clamp(min=0))
            result, count = result.index(row.clamp(max=count - 1)).where(row >= count, later), count + size
        return result

    device = _device(parts[0])
    return _walk(concatenate, *parts)


def _device(state: State) -> torch.device | None:
    """The device of the first tensor."""
    if isinstance(state, tuple):
        return next((device for part in state if (device := _device(part)) is not None), None)
    return state.device if isinstance(state, Tensor) else None


def select_members(state: State, index: Tensor) -> State:
    """Selects members `index` (int64) of axis 1, in that order. Each leaf must have that axis."""
    return _walk(lambda leaf: leaf.index(index, 1) if isinstance(leaf, Leaf) else leaf[:, index], state)


def select_or_reset_members(state: State, initial: State, index: Tensor) -> State:
    """Selects members `index` of a state; where it is -1, those of `initial`, which has one member for each index."""
    return where((index < 0).unsqueeze(0), initial, select_members(state, index.clamp(min=0)))


def fold(state: State) -> State:
    """Folds members into the batch: (B, N, ...) -> (B * N, ...)."""
    return _walk(lambda leaf: leaf.fold() if isinstance(leaf, Leaf) else leaf.flatten(0, 1), state)


def unfold(state: State, n: int) -> State:
    """Unfolds members from the batch: (B * n, ...) -> (B, n, ...)."""
    return _walk(lambda leaf: leaf.unfold(n) if isinstance(leaf, Leaf) else leaf.unflatten(0, (-1, n)), state)


def pack(state: State) -> Packed:
    """Serializes to lists, dicts and detached tensors, which `torch.load(weights_only=True)` accepts; see `unpack`.

    A tensor that occurs twice in the state is one tensor after `unpack`, too, also through a file: parts that compare
    tensors by identity, such as `comms.topology.is_unmodified`, keep their fast paths and so the same rounding errors.
    """
    return _pack(state, {})


def _pack(state: State, packed: dict[int, Tensor]) -> Packed:
    """packed: clones of the tensors so far, by the identity of the original."""
    if state is None:
        return None
    if isinstance(state, tuple):
        return [_pack(part, packed) for part in state]
    if isinstance(state, Leaf):
        return state.pack()
    if id(state) not in packed:
        packed[id(state)] = state.detach().clone()
    return packed[id(state)]


def unpack(packed: Packed, like: State) -> State:
    """Restores a packed state. `like`: an initial state of the same core, of any batch size, which gives the types.

    Raises:
        ValueError: the structures differ, so the state belongs to another core.
    """
    if isinstance(like, tuple):
        if not isinstance(packed, list) or len(packed) != len(like):
            got = f"{len(packed)} parts" if isinstance(packed, list) else type(packed).__name__
            raise ValueError(
                f"packed state of a {type(like).__name__}: got {got}, want {len(like)} parts; "
                "unpack it with the initial state of the core that made it"
            )
        return _rebuild(like, [unpack(part, template) for part, template in zip(packed, like, strict=True)])
    if isinstance(like, Leaf):
        return like.unpack(packed)
    if not isinstance(packed, Tensor | None):  # a subtree that is initially None may become a tensor
        raise ValueError(f"a packed state holds {type(packed).__name__} where the core has {type(like).__name__}")
    return packed
