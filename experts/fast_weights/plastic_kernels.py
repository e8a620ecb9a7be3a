"""Calls of the kernels of plastic weights (`experts/kernels/plastic.c`)."""

import ctypes
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from experts.kernels.library import SUFFIXES, kernel, library
from experts.torch_internals import host_readable

LONG, POINTER = ctypes.c_long, ctypes.c_void_p
CHUNK = 8  # steps whose traces are recomputed at a time, for which a CPU core's cache has room


def usable(*tensors: Tensor | None) -> bool:
    """Whether there are kernels for these tensors: on the CPU, float32 or float64, outside of torch.func.

    Args:
        tensors: arguments of a kernel; None: not given.
    """
    reals = [x for x in tensors if x is not None and x.dtype != torch.bool]
    same = all(x.dtype == reals[0].dtype and host_readable(x) for x in reals)
    return same and reals[0].dtype in SUFFIXES and library() is not None


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
