"""Nests of tuples, lists and dicts, taken apart into their tensors and what stays on the host.

For functions that take and give nothing but tensors (`vmap`), where a state also holds numbers, None and logs.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor

from experts.state import Leaf


class Hole(NamedTuple):
    """Where a tensor was; or a leaf, of which `like` tells the kind and `packed` is the rest, taken apart."""

    like: Leaf | None = None
    packed: Any = None


def visit(change: Callable[[Any], Any], value: Any) -> Any:
    """The same nest with each tensor, leaf and hole changed; whatever else it holds stays."""
    if isinstance(value, Tensor | Leaf | Hole):
        return change(value)
    if isinstance(value, dict):
        return {name: visit(change, part) for name, part in value.items()}
    if isinstance(value, tuple | list):
        parts = [visit(change, part) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    return value


def apart(value: Any) -> tuple[Any, list[Tensor]]:
    """A shell with a hole for each tensor, and the tensors. Leaves are cut off from the graph that made them."""
    tensors: list[Tensor] = []

    def take(part: Tensor | Leaf) -> Hole:
        if isinstance(part, Tensor):
            tensors.append(part)
            return Hole()
        return Hole(part.detach(), visit(take, part.pack()))  # detached: a shell must not keep a graph alive

    return visit(take, value), tensors


def together(shell: Any, tensors: list[Tensor]) -> Any:
    """What was taken apart, with these tensors in the holes."""
    left = iter(tensors)

    def fill(hole: Hole) -> Tensor | Leaf:
        return next(left) if hole.like is None else hole.like.unpack(visit(fill, hole.packed))

    return visit(fill, shell)
