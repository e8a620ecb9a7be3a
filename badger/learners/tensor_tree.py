"""Flattening of nested tuples, lists and dicts into a list of tensors and a structure that stays on the host.

For functions that take and return tensors only (`vmap`), where a state also holds numbers, None and row logs.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor

from experts.state import Leaf


class LeafSpec(NamedTuple):
    """The place of a tensor in a tree, or of a `Leaf`, an object that packs itself into tensors.

    Args:
        place: of the tensor in the list.
        like: the detached leaf, which unpacks the new one; None: a plain tensor.
        packed: the tree of the packed leaf, with its own `LeafSpec` for each tensor.
    """

    place: int = -1
    like: Leaf | None = None
    packed: Any = None


def tree_map(function: Callable[[Any], Any], tree: Any) -> Any:
    """The same tree with the function applied to each tensor, `Leaf` and `LeafSpec`; other values stay.

    Args:
        function: tensor, leaf or spec -> its replacement.
        tree: nested tuples, named tuples, lists and dicts.
    """
    if isinstance(tree, Tensor | Leaf | LeafSpec):
        return function(tree)
    if isinstance(tree, dict):
        return {name: tree_map(function, part) for name, part in tree.items()}
    if isinstance(tree, tuple | list):
        parts = [tree_map(function, part) for part in tree]
        return type(tree)(*parts) if hasattr(tree, "_fields") else type(tree)(parts)
    return tree


def tree_flatten(tree: Any) -> tuple[Any, list[Tensor]]:
    """The tree with a `LeafSpec` in place of each tensor, and the list of the tensors. Leaves are detached.

    A tensor that occurs twice in the tree is listed once, and is one tensor again after `tree_unflatten`.

    Args:
        tree: nested tuples, named tuples, lists and dicts.
    """
    tensors: list[Tensor] = []
    places: dict[int, int] = {}  # by the identity of the tensor, which the list keeps alive

    def take(leaf: Tensor | Leaf) -> LeafSpec:
        if not isinstance(leaf, Tensor):
            spec = tree_map(take, leaf.pack())
            return LeafSpec(like=leaf.detach(), packed=spec)  # detached: a spec must not keep a graph alive
        if id(leaf) not in places:
            places[id(leaf)] = len(tensors)
            tensors.append(leaf)
        return LeafSpec(places[id(leaf)])

    return tree_map(take, tree), tensors


def tree_unflatten(tree_spec: Any, tensors: list[Tensor]) -> Any:
    """The inverse of `tree_flatten`.

    Args:
        tree_spec: the tree of specs that `tree_flatten` returned.
        tensors: one for each tensor that it listed, in the same order.
    """

    def fill(spec: LeafSpec) -> Tensor | Leaf:
        return tensors[spec.place] if spec.like is None else spec.like.unpack(tree_map(fill, spec.packed))

    return tree_map(fill, tree_spec)
