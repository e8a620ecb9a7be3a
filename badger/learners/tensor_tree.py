"""Nests of tuples, lists and dicts, taken apart into their tensors and what stays on the host.

For functions that take and give nothing but tensors (`vmap`), where a state also holds numbers, None and logs.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor

from experts.state import Leaf


class LeafSpec(NamedTuple):
    """Where a tensor was; or a leaf, of which `like` tells the kind and `packed` is the rest, taken apart."""

    like: Leaf | None = None
    packed: Any = None


def tree_map(change: Callable[[Any], Any], value: Any) -> Any:
    """The same nest with each tensor, leaf and hole changed; whatever else it holds stays."""
    if isinstance(value, Tensor | Leaf | LeafSpec):
        return change(value)
    if isinstance(value, dict):
        return {name: tree_map(change, part) for name, part in value.items()}
    if isinstance(value, tuple | list):
        parts = [tree_map(change, part) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    return value


def tree_flatten(value: Any) -> tuple[Any, list[Tensor]]:
    """A shell with a hole for each tensor, and the tensors. Leaves are cut off from the graph that made them."""
    tensors: list[Tensor] = []

    def take(part: Tensor | Leaf) -> LeafSpec:
        if isinstance(part, Tensor):
            tensors.append(part)
            return LeafSpec()
        return LeafSpec(part.detach(), tree_map(take, part.pack()))  # detached: a shell must not keep a graph alive

    return tree_map(take, value), tensors


def tree_unflatten(tree_spec: Any, tensors: list[Tensor]) -> Any:
    """What was taken apart, with these tensors in the holes."""
    left = iter(tensors)

    def fill(hole: LeafSpec) -> Tensor | Leaf:
        return next(left) if hole.like is None else hole.like.unpack(tree_map(fill, hole.packed))

    return tree_map(fill, tree_spec)
