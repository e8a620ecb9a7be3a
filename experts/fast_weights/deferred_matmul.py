"""Products of vectors with one matrix, whose weight gradient is computed once for all of them.

Each product x M of a store adds one outer product to the gradient of M, which reads and writes the whole matrix. Here
the backward pass of a product only records its vectors; after the last one, a single matrix product computes the sum.
The matrix may itself be a decayed matrix plus outer products. Its gradient is then computed in the same pass, a few
stores at a time, so that blocks fit in the cache.

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

BLOCK = 2**18  # numbers of a block that fits in a CPU core's cache, with its results

deferred_first_order_only = first_order_only(
    'Plastic(rule="oja"), whose traces are sums of outer products,',
    'Plastic(rule="hebb") has them; and under torch.func (torch.func.grad of torch.func.grad) both have.',
)


class LowRankMatrix(NamedTuple):
    """The matrix sum matrix * keep + left^T right."""

    matrix: Float[Tensor, "S I J"]
    keep: Float[Tensor, "S 1 J"]
    left: Float[Tensor, "S p I"]
    right: Float[Tensor, "S p J"]

    def materialize(self) -> Float[Tensor, "S I J"]:
        """The sum as one matrix."""
        if use_plain_ops():
            return (self.matrix * self.keep).baddbmm(self.left.mT, self.right)
        return MaterializeFunction.apply(None, *self)[0]


class CachedProduct:
    """The product alpha * matrix of a `LowRankMatrix`, cached for several vector products.

    Neither the matrix nor alpha may be changed in place.

    Args:
        parts: the matrix; `self.matrix` is its sum.
        alpha: elementwise factor.
        after: an older product whose buffer is reused; if it is used again, it is recomputed.
    """

    def __init__(self, parts: LowRankMatrix, alpha: Float[Tensor, "I J"], after: "CachedProduct | None" = None):
        self.alpha, self.key, self.version = alpha, object(), _alpha_version(alpha)
        self.buffer: _ProductBuffer = _ProductBuffer() if after is None else after.buffer
        self.token: Tensor | None = None
        if use_plain_ops():
            self.matrix = parts.materialize()
            return
        self.matrix, token = MaterializeFunction.apply(alpha, *parts)
        if token.requires_grad:
            self.token, token.grad_fn.buffer = token, self.buffer

    def is_valid_for(self, alpha: Tensor) -> bool:
        """Whether the cached product is valid for alpha in its present version."""
        return self.alpha is alpha and self.version == _alpha_version(alpha)

    def matmul(self, x: Float[Tensor, "S Q I"]) -> Float[Tensor, "S Q J"]:
        """x @ (alpha * matrix), with deferred gradients."""
        if self.token is not None:
            return DeferredMatmulFunction.apply(x, self.token, self.buffer.get(self.key, self.alpha, self.matrix))
        if use_plain_ops() and not functorch_active():
            return x @ self.buffer.get(self.key, self.alpha, self.matrix)
        return x @ (self.alpha * self.matrix)


class MaterializeFunction(Function):
    """The sum of a `LowRankMatrix`, and a token.

    All products take the token as an input, so that autograd calls this backward pass after those of all products.
    """

    @staticmethod
    def forward(ctx, alpha, matrix, keep, left, right):
        result = torch.empty_like(matrix)
        for m, k, a, b, out in blocks(matrix, keep, left, right, result):
            # the method: the function torch.baddbmm would be rounded by `precision="bf16"`, together with m
            torch.mul(m, k, out=out).baddbmm_(a.mT, b)
        ctx.records, ctx.buffer, ctx.key, ctx.saved = {}, None, object(), None  # records: (x, grad) by backward pass
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(alpha, matrix, keep, left, right, result)
        return result, matrix.new_zeros(())

    @staticmethod
    @deferred_first_order_only
    def backward(ctx, grad_matrix, _):
        records = ctx.records.pop(backward_pass(), [])
        alpha, *parts, result = saved_parts(ctx)
        ctx.records, ctx.saved = {}, None  # also those of backward passes that did not reach this node
        grad_parts = [torch.empty_like(part) for part in parts]
        xs, grads = (torch.cat(part, 1) for part in zip(*records, strict=True)) if records else parts[2:]
        grad_alpha = torch.zeros_like(alpha) if records else None
        grad_matrix = torch.zeros_like(grad_parts[0]) if grad_matrix is None else grad_matrix
        for m, k, a, b, x, g, total, grad, grad_m, grad_k, grad_a, grad_b in blocks(
            *parts, xs, grads, result, grad_matrix, *grad_parts
        ):
            if records:
                grad_product = x.mT @ g
                grad_alpha += (grad_product * total).sum(0)
                grad = grad_product.mul_(alpha).add_(grad)
            torch.mul(grad, m, out=grad_m)
            torch.sum(grad_m, 1, keepdim=True, out=grad_k)
            torch.mul(grad, k, out=grad_m)
            torch.bmm(b, grad.mT, out=grad_a)
            torch.bmm(a, grad, out=grad_b)
        return grad_alpha, *grad_parts


class DeferredMatmulFunction(Function):
    """x @ product, whose backward pass records (x, grad) for the gradient of the product."""

    @staticmethod
    def forward(ctx, x, token, product):
        ctx.save_for_backward(x)
        return x @ product

    @staticmethod
    @deferred_first_order_only
    def backward(ctx, grad):
        (x,), result = ctx.saved_tensors, ctx.next_functions[1][0]
        result.records.setdefault(backward_pass(), []).append((x, grad))
        alpha, *_, matrix = saved_parts(result)
        return grad @ result.buffer.get(result.key, alpha, matrix).mT, grad.new_zeros(()), None


class _ProductBuffer:
    """A reused buffer for one product at a time, with the key of its owner; allocating new memory is slow."""

    def __init__(self) -> None:
        self.owner: object = None
        self.tensor: Tensor | None = None

    def get(self, owner: object, alpha: Tensor, matrix: Tensor) -> Tensor:
        """alpha * matrix, computed unless the buffer already holds it."""
        buffer = self.tensor
        if buffer is None or buffer.shape != matrix.shape or buffer.is_inference() != torch.is_inference_mode_enabled():
            buffer, self.owner = torch.empty_like(matrix, requires_grad=False), None
        if self.owner is not owner:
            with torch.no_grad():
                torch.mul(alpha, matrix, out=buffer)
            self.owner, self.tensor = owner, buffer
        return buffer


def _alpha_version(alpha: Tensor) -> tuple[int, bool]:
    """Key of the validity of a product with alpha: its version, and whether gradients are on."""
    return version(alpha), torch.is_grad_enabled()


def saved_parts(node: Any) -> tuple[Any, ...]:
    """The saved tensors, cached, as checkpointing returns them only once."""
    if node.saved is None:  # detached: an output refers to its node, and the cycle would never be freed
        node.saved = tuple(None if part is None else part.detach() for part in node.saved_tensors)
    return node.saved


def use_plain_ops() -> bool:
    """Whether to use plain operations: under torch.func, and without gradients."""
    return functorch_active() or not torch.is_grad_enabled()


def blocks(*parts: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Splits the parts into blocks of stores that fit in the cache of a CPU core.

    parts: the first one is a matrix for each store.
    """
    stores, i, j = parts[0].shape
    size = max(1, BLOCK // (i * j)) if parts[0].device.type == "cpu" else stores
    return zip(*(part.split(size) for part in parts), strict=True)
