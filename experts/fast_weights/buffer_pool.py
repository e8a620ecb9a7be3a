"""Large tensors that are used again: memory that is new to a process is slow, at first and for some time after."""

import threading

import torch
from torch import Tensor

from experts.torch_internals import storage_users

MOST = 4  # buffers that are kept in each thread


class BufferPool(threading.local):
    """Buffers of one thread. A buffer is free if no tensor, view or graph outside of the pool has its storage."""

    def __init__(self) -> None:
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
        self.buffers = [*self.buffers[-MOST + 1 :], buffer]
        return buffer.view(x.shape)


def _fits(buffer: Tensor, x: Tensor) -> bool:
    kind = buffer.shape, buffer.dtype, buffer.device, buffer.is_inference()
    return kind == (x.shape, x.dtype, x.device, torch.is_inference_mode_enabled())
