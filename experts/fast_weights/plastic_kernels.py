"""Calls of the kernels of plastic weights: `plastic.c` and `low_rank.c` of `experts/kernels`."""

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from experts.fast_weights.buffer_pool import BufferPool
from experts.kernels.library import addresses, kernel, usable

pool = BufferPool(most=4)
LONG, POINTER = ctypes.c_long, ctypes.c_void_p
LARGEST_RANK = 8  # outer products that low_rank.c adds without making the matrix
CHUNK = 8  # steps whose traces are recomputed at a time, for which a CPU core's cache has room


def usable_without_graph(like: Tensor, *others: Tensor) -> bool:
    """Whether there are kernels for these tensors, and no gradient is wanted.

    Args:
        like: an argument of a kernel.
        others: as in `experts.kernels.library.usable`.
    """
    return not torch.is_grad_enabled() and usable(like, *others)


def low_rank_matmul(
    x: Tensor, alpha: Tensor, parts: tuple[Tensor, Tensor, Tensor, Tensor]
) -> tuple[Tensor, Tensor | None]:
    """x (alpha * (matrix * keep + left^T right)) of each store, (S, 1, J).

    Args:
        x: vectors, (S, 1, I).
        alpha: factors, (I, J).
        parts: matrix, keep, left and right of a `deferred_matmul.LowRankMatrix`.

    Returns:
        The product; and the matrix of the sum, if it has `LARGEST_RANK` outer products or more, else None.
    """
    matrix, keep, left, right = parts
    rank = left.shape[1]
    if rank > LARGEST_RANK:
        dense = (matrix * keep).baddbmm_(left.mT, right)
        return low_rank_matmul(x, alpha, (dense, torch.ones_like(keep), left[:, :0], right[:, :0]))[0], dense
    sum_ = pool.empty_like(matrix) if rank == LARGEST_RANK else None
    y = keep.new_empty(keep.shape)
    _call("low_rank_matmul", (*matrix.shape, rank), (matrix, keep, left, right, alpha, x, y, sum_))
    return y, sum_


def oja_step(
    pre: Tensor, h: Tensor, alpha: Tensor, rate: Tensor, parts: tuple[Tensor, Tensor, Tensor, Tensor]
) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor, Tensor]]:
    """A step of plastic networks with Oja's rule: the new h, and the parts of the new traces.

    Args:
        pre: preactivations without the plastic part, (S, H).
        h: before the step, (S, H).
        alpha: factors of the traces.
        rate: of all neurons, one number.
        parts: of the traces, a `deferred_matmul.LowRankMatrix` of at most `LARGEST_RANK` outer products.
    """
    matrix, keep, left, _ = parts
    stores, rank, size = left.shape
    dense = pool.empty_like(matrix) if rank == LARGEST_RANK else None
    after = 1 if dense is not None else rank + 1
    new_h, new_keep = torch.empty_like(h), keep.new_empty(keep.shape)
    new_left, new_right = h.new_empty(stores, after, size), h.new_empty(stores, after, size)
    tensors = (*parts, alpha, rate, h, pre, new_h, new_keep, new_left, new_right, dense)
    _call("oja_step", (stores, size, rank), tensors)
    return new_h, (matrix if dense is None else dense, new_keep, new_left, new_right)


def backward(
    hebb: bool,
    steps: Sequence[Tensor | None],
    grad: Tensor,
    w: Tensor,
    alpha: Tensor,
    direction: Tensor | None,
    results: tuple[Tensor, Tensor, Tensor],
) -> None:
    """Backward pass of recorded steps.

    Args:
        hebb: whether the rule is Hebb's; else Oja's.
        steps: the parts of `recorded_traces.RecordedSteps`.
        grad: of the outputs, (T, S, H).
        w: fixed weights.
        alpha: factors of the traces.
        direction: as in `RecordedSteps`.
        results: contiguous gradients of preactivations and rates, which are written, and of alpha, which is added to.
    """
    num_steps, networks, size = grad.shape
    sent, received, rate, slope, reset, trace = steps
    assert rate is not None
    matrices = (num_steps - 1) // CHUNK + 1 + CHUNK + 1
    work = grad.new_empty(matrices * size * size + 7 * size)
    tensors = [sent, received, rate, slope, direction, reset, trace, grad, w, alpha, *results, work]
    _call("plastic_backward", (num_steps, networks, size, CHUNK, hebb, rate.shape[-1]), tensors)


def _call(name: str, sizes: Sequence[int], tensors: Sequence[Tensor | None]) -> None:
    """Calls a kernel with sizes and then the addresses of tensors; results among them must be contiguous."""
    kept = [None if x is None else x.contiguous() for x in tensors]  # until the call is over
    function = kernel(name, tensors[0].dtype, *[LONG] * len(sizes), *[POINTER] * len(kept))  # type: ignore[union-attr]
    function(*sizes, *addresses(kept))
