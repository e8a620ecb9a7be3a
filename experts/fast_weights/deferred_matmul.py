"""Products with one matrix, whose gradient is made once for all of them.

Each product with a matrix of a store's own adds one outer product to the gradient of that matrix: as many numbers are
read and written as it has. Here the backward pass of a product only notes what it would add; when all of them have,
one product of matrices makes the sum. The matrix itself may be one that fades and has grown by outer products, and
its whole gradient is made in the same pass, some stores at a time: large matrices are slow to read, and slower to make.

Shapes: S stores, Q vectors a product, p outer products, I and J sides of the matrix.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import Function

from experts.second_derivatives import first_order_only
from experts.torch_internals import backward_pass, functorch_active, version

BLOCK = 2**18  # numbers that a core's cache holds, with what is made of them

multiplied_later = first_order_only(
    'Plastic(rule="oja"), whose traces are multiplied out every few steps,',
    'Plastic(rule="hebb") has them; and under torch.func (torch.func.grad of torch.func.grad) both have.',
)


class LowRankMatrix(NamedTuple):
    """matrix * keep + left^T right"""

    matrix: Float[Tensor, "S I J"]
    keep: Float[Tensor, "S 1 J"]
    left: Float[Tensor, "S p I"]
    right: Float[Tensor, "S p J"]

    def materialize(self) -> Float[Tensor, "S I J"]:
        """Multiplied out."""
        if use_plain_ops():
            return (self.matrix * self.keep).baddbmm(self.left.mT, self.right)
        return MaterializeFunction.apply(None, *self)[0]


class CachedProduct:
    """alpha * matrix, for many products to come, of a matrix that has grown. matrix: to go on with.

    Neither the matrix nor alpha is to be changed in place. after: whose place in memory is taken, where the older one
    is no longer needed; and if it is, its product is made again.
    """

    def __init__(self, grown: LowRankMatrix, alpha: Float[Tensor, "I J"], after: "CachedProduct | None" = None):
        self.alpha, self.key, self.version = alpha, object(), _alpha_version(alpha)
        self.place: _ProductBuffer = _ProductBuffer() if after is None else after.place
        self.token: Tensor | None = None
        if use_plain_ops():
            self.matrix = grown.materialize()
            return
        self.matrix, token = MaterializeFunction.apply(alpha, *grown)
        if token.requires_grad:
            self.token, token.grad_fn.place = token, self.place

    def is_valid_for(self, alpha: Tensor) -> bool:
        """Whether it holds good for products with this alpha, as it is now."""
        return self.alpha is alpha and self.version == _alpha_version(alpha)

    def matmul(self, x: Float[Tensor, "S Q I"]) -> Float[Tensor, "S Q J"]:
        """x @ (alpha * matrix)"""
        if self.token is not None:
            return DeferredMatmulFunction.apply(x, self.token, self.place.of(self.key, self.alpha, self.matrix))
        if use_plain_ops() and not functorch_active():
            return x @ self.place.of(self.key, self.alpha, self.matrix)
        return x @ (self.alpha * self.matrix)


class MaterializeFunction(Function):
    """What has grown; and a token that all products are given, so that the engine comes back here after the last."""

    @staticmethod
    def forward(ctx, alpha, matrix, keep, left, right):
        made = torch.empty_like(matrix)
        for m, k, a, b, out in blocks(matrix, keep, left, right, made):
            # the method, for as a function it is among the products that `precision="bf16"` rounds, with m in it
            torch.mul(m, k, out=out).baddbmm_(a.mT, b)
        ctx.notes, ctx.place, ctx.key, ctx.saved = {}, None, object(), None  # notes: of each backward pass that goes on
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(alpha, matrix, keep, left, right, made)
        return made, matrix.new_zeros(())

    @staticmethod
    @multiplied_later
    def backward(ctx, to_made, _):
        noted = ctx.notes.pop(backward_pass(), [])
        alpha, *grown, made = saved_parts(ctx)
        ctx.notes, ctx.saved = {}, None  # also of passes that ended before they came here
        given = [torch.empty_like(part) for part in grown]
        xs, grads = (torch.cat(part, 1) for part in zip(*noted, strict=True)) if noted else grown[2:]
        to_alpha = torch.zeros_like(alpha) if noted else None
        to_made = torch.zeros_like(given[0]) if to_made is None else to_made
        for m, k, a, b, x, g, now, to, to_m, to_k, to_a, to_b in blocks(*grown, xs, grads, made, to_made, *given):
            if noted:
                own = x.mT @ g
                to_alpha += (own * now).sum(0)
                to = own.mul_(alpha).add_(to)
            torch.mul(to, m, out=to_m)
            torch.sum(to_m, 1, keepdim=True, out=to_k)
            torch.mul(to, k, out=to_m)
            torch.bmm(b, to.mT, out=to_a)
            torch.bmm(a, to, out=to_b)
        return to_alpha, *given


class DeferredMatmulFunction(Function):
    @staticmethod
    def forward(ctx, x, token, product):
        ctx.save_for_backward(x)
        return x @ product

    @staticmethod
    @multiplied_later
    def backward(ctx, grad):
        (x,), made = ctx.saved_tensors, ctx.next_functions[1][0]
        made.notes.setdefault(backward_pass(), []).append((x, grad))
        alpha, *_, matrix = saved_parts(made)
        return grad @ made.place.of(made.key, alpha, matrix).mT, grad.new_zeros(()), None


class _ProductBuffer:
    """Room for one product at a time, and whose it is, by a key: memory that is new to a process is slow."""

    def __init__(self) -> None:
        self.owner: object = None
        self.room: Tensor | None = None

    def of(self, owner: object, alpha: Tensor, matrix: Tensor) -> Tensor:
        """alpha * matrix, made if it is not there."""
        room = self.room
        if room is None or room.shape != matrix.shape or room.is_inference() != torch.is_inference_mode_enabled():
            room, self.owner = torch.empty_like(matrix, requires_grad=False), None
        if self.owner is not owner:
            with torch.no_grad():
                torch.mul(alpha, matrix, out=room)
            self.owner, self.room = owner, room
        return room


def _alpha_version(alpha: Tensor) -> tuple[int, bool]:
    """What a product with alpha holds good for: the tensor may be changed in place, or be needed with its gradient."""
    return version(alpha), torch.is_grad_enabled()


def saved_parts(node: Any) -> tuple[Any, ...]:
    """What was saved. A checkpoint gives it once."""
    if node.saved is None:  # detached, for what a node has made knows the node: neither would ever be freed
        node.saved = tuple(None if part is None else part.detach() for part in node.saved_tensors)
    return node.saved


def use_plain_ops() -> bool:
    """Whether plain operations do: torch.func knows no others."""
    return functorch_active() or not torch.is_grad_enabled()


def blocks(*parts: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """So many stores at a time, of each part, that what is made of them stays in a core's cache. The first part is a
    matrix for each store."""
    stores, i, j = parts[0].shape
    size = max(1, BLOCK // (i * j)) if parts[0].device.type == "cpu" else stores
    return zip(*(part.split(size) for part in parts), strict=True)
