"""Sums over processes and exchanged rows, with the derivatives of what all processes compute together.

Every process differentiates its own copy of a loss. The derivatives here are those of the sum of these copies: that of
a sum over processes is a sum over processes, and what was received is answered with what is to be added at its sender.
A copy has the derivative of one loss after the mean over processes (`badger.distributed.all_reduce_mean_`).

Shapes: C row.
"""

from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor

from badger import distributed


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone(memory_format=torch.contiguous_format)
        with distributed.collective():
            dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _Sum.apply(gradient)


class _Exchange(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, send_counts: list[int], receive_counts: list[int]) -> Tensor:
        ctx.counts = send_counts, receive_counts
        return _all_to_all(rows, send_counts, receive_counts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        send_counts, receive_counts = ctx.counts
        return _Exchange.apply(gradient, receive_counts, send_counts), None, None


def sum_over_processes(x: Tensor) -> Tensor:
    """The sum of a tensor over all processes.

    Args:
        x: of the same shape in all processes.

    Raises:
        ProcessLost: another process has died.
    """
    return x if distributed.world_size() == 1 else _Sum.apply(x)


def max_over_processes(x: Tensor) -> Tensor:
    """The maximum of a tensor over all processes, without gradient.

    Args:
        x: of the same shape in all processes.

    Raises:
        ProcessLost: another process has died.
    """
    highest = x.detach().clone(memory_format=torch.contiguous_format)
    if distributed.world_size() > 1:
        with distributed.collective():
            dist.all_reduce(highest, dist.ReduceOp.MAX)
    return highest


def gather_last_axis(x: Tensor) -> Tensor:
    """The tensors of all processes side by side, without gradient.

    Args:
        x: of the same shape in all processes.

    Raises:
        ProcessLost: another process has died.
    """
    parts = [torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(distributed.world_size())]
    if len(parts) == 1:
        return x.detach()
    with distributed.collective():
        dist.all_gather(parts, x.detach().contiguous())
    return torch.cat(parts, -1)


def exchange_rows(rows: Float[Tensor, "C *_"], send_counts: list[int], receive_counts: list[int]) -> Tensor:
    """The rows that the other processes have for this one, in the order of processes.

    Args:
        rows: those for each process, in the order of processes.
        send_counts: how many of them are for each process.
        receive_counts: how many rows come from each process.

    Raises:
        ProcessLost: another process has died.
    """
    return _Exchange.apply(rows, send_counts, receive_counts)


def _all_to_all(rows: Tensor, send_counts: list[int], receive_counts: list[int]) -> Tensor:
    received = rows.new_empty(sum(receive_counts), *rows.shape[1:])
    with distributed.collective():
        dist.all_to_all_single(received, rows.contiguous(), receive_counts, send_counts)
    return received
