"""The arguments of the kernels of an episodic memory: sizes and addresses in one struct.

Shapes: T step, S stores, N members, D input, H hidden, K key, V value, k rows read, P = 2 K + 3 H products.
"""

import ctypes
from itertools import chain
from typing import NamedTuple

from torch import Tensor

from experts.episodic.fused_step import FusedConfig

WEIGHTINGS = ("softmax", "similarity", "inverse_distance")
"""Weightings in the order of the enum of episodic_step.h."""

SIZES = (
    "stores", "members", "inputs", "hidden", "key_size", "value_size", "capacity", "top_k", "weighting", "distance",
    "stores_x", "stores_h", "passes_gradient",
)  # fmt: skip
ADDRESSES = (
    "spans", "starts", "valid", "x", "x_products", "h_products", "read_products", "bias_h", "first_h", "masked_h",
    "after", "pending_key", "pending_value", "keys", "values", "query", "read", "weights", "index", "gates",
    "candidate", "new_h", "scratch", "grad_after", "grad_pending_value", "grad_read", "grad_keys", "grad_values",
    "carry", "grad_x_products", "grad_h_products",
)  # fmt: skip


class EpisodicStep(ctypes.Structure):
    """The struct of the same name of episodic_step.h."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in SIZES),
        ("scale", ctypes.c_double),
        *((name, ctypes.c_void_p) for name in ADDRESSES),
    )


ARGUMENTS = ctypes.POINTER(EpisodicStep), ctypes.c_int64
"""Types of the arguments of a kernel: the struct and the number of the step."""


class Saved(NamedTuple):
    """Numbers that the steps save for the backward pass, as parts of one tensor."""

    query: Tensor  # (T, S N, K)
    read: Tensor  # (T, S N, V)
    weights: Tensor  # (T, S N, k)
    gates: Tensor  # (T, S N, 2 H)
    candidate: Tensor  # (T, S N, H)
    new_h: Tensor  # (T, S N, H)


class Sizes(NamedTuple):
    """Sizes of some steps."""

    steps: int  # T
    rows: int  # S N
    inputs: int  # D
    hidden: int  # H
    key: int  # K
    value: int  # V
    top_k: int  # k

    @property
    def products(self) -> int:
        """P."""
        return 2 * self.key + 3 * self.hidden

    def saved(self, like: Tensor) -> tuple[Tensor, Saved]:
        """A tensor for what the steps save, and its parts.

        Args:
            like: gives dtype and device.
        """
        whole = like.new_empty(self.steps * self.rows * sum(self._widths))
        return whole, self.split(whole)

    @property
    def _widths(self) -> tuple[int, ...]:
        return self.key, self.value, self.top_k, 2 * self.hidden, self.hidden, self.hidden

    def split(self, whole: Tensor) -> Saved:
        """The parts of the tensor of `saved`.

        Args:
            whole: the tensor.
        """
        parts = whole.split([self.steps * self.rows * size for size in self._widths])
        return Saved(*(x.view(self.steps, self.rows, n) for x, n in zip(parts, self._widths, strict=True)))

    def struct(self, config: FusedConfig, storage: tuple[Tensor, Tensor], **tensors: Tensor | None) -> EpisodicStep:
        """The struct for the kernels.

        Args:
            config: static options, with spans.
            storage: keys and values of the log.
            tensors: contiguous tensors by the names of `ADDRESSES`, which must live as long as the struct is used.
        """
        step = EpisodicStep(
            storage[0].shape[0], self.rows // storage[0].shape[0], self.inputs, self.hidden, self.key, self.value,
            storage[0].shape[1], self.top_k, WEIGHTINGS.index(config.attend.weighting), config.attend.distance,
            config.row_content != "h", config.row_content != "x", not config.detach, config.scale,
        )  # fmt: skip
        step.keys, step.values = storage[0].data_ptr(), storage[1].data_ptr()
        numbers = (ctypes.c_int64 * (3 * self.steps))(*chain.from_iterable(config.spans))
        step.numbers = numbers  # lives as long as the struct
        step.spans = ctypes.addressof(numbers)
        for name, tensor in tensors.items():
            setattr(step, name, None if tensor is None else tensor.data_ptr())
        return step
