"""Large tensors that are used again: memory that is new to a process is slow, at first and for some time after."""

import threading

import torch
from torch import Tensor

from experts.torch_internals import storage_users


class BufferPool(threading.local):
    """Buffers of one thread. A buffer is free if no tensor, view or graph outside of the pool has its storage.

    Args:
        most: buffers that are kept in each thread.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.buffers: list[Tensor] = []

    def empty_like(self, x: Tensor) -> Tensor:
        """A contiguous tensor of the shape, dtype and device of x, with any content.

        Args:
            x: any tensor.
        """
        for buffer in self.buffers:
            if _fits(buffer, x) and storage_users(buffer) == 1:
                return buffer.view(x.shape)
        buffer = torch.empty_like(x, memory_format=torch.contiguous_format, requires_grad=False)
        self.buffers = [*self.buffers[1 - self.most :], buffer]
        return buffer.view(x.shape)


def _fits(buffer: Tensor, x: Tensor) -> bool:
    kind = buffer.shape, buffer.dtype, buffer.device, buffer.is_inference()
    return kind == (x.shape, x.dtype, x.device, torch.is_inference_mode_enabled())
