"""Calls of the kernels of plastic weights: `plastic.c` and `low_rank.c` of `experts/kernels`."""

import ctypes
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from experts.kernels.library import SUFFIXES, kernel, library
from experts.torch_internals import host_readable

LONG, POINTER = ctypes.c_long, ctypes.c_void_p
LARGEST_RANK = 8  # outer products that low_rank.c adds without making the matrix
CHUNK = 8  # steps whose traces are recomputed at a time, for which a CPU core's cache has room


def usable(*tensors: Tensor | None) -> bool:
    """Whether there are kernels for these tensors: on the CPU, float32 or float64, outside of torch.func.

    Args:
        tensors: arguments of a kernel; None: not given.
    """
    reals = [x for x in tensors if x is not None and x.dtype != torch.bool]
    same = all(x.dtype == reals[0].dtype and host_readable(x) for x in reals)
    return same and reals[0].dtype in SUFFIXES and library() is not None


def usable_without_graph(*tensors: Tensor) -> bool:
    """Whether there are kernels for these tensors, and no gradient is wanted.

    Args:
        tensors: arguments of a kernel.
    """
    return not torch.is_grad_enabled() and usable(*tensors)


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
    dense = torch.empty_like(matrix) if rank == LARGEST_RANK else None
    y = keep.new_empty(keep.shape)
    inputs = [None if t is None else t.contiguous() for t in (matrix, keep, left, right, alpha, x, y, dense)]
    function = kernel("low_rank_matmul", x.dtype, *[LONG] * 4, *[POINTER] * 8)
    function(*matrix.shape, rank, *map(_address, inputs))
    return y, dense


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
    function = kernel("plastic_backward", grad.dtype, *[LONG] * 6, *[POINTER] * 14)
    tensors = [sent, received, rate, slope, direction, reset, trace, grad, w, alpha, *results, work]
    inputs = [None if x is None else x.contiguous() for x in tensors]  # kept until the call is over
    function(num_steps, networks, size, CHUNK, hebb, rate.shape[-1], *map(_address, inputs))


def _address(x: Any) -> int | None:
    return None if x is None else x.data_ptr()
