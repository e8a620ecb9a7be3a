"""The arguments of the kernels of an episodic memory: sizes and addresses in one struct.

Shapes: T step, S stores, N members, D input, H hidden, K key, V value, k rows read, P = 2 K + 3 H products.
"""

import ctypes
from itertools import accumulate, chain
from typing import NamedTuple

from torch import Tensor

from experts.episodic.fused_step import FusedConfig
from experts.kernels.library import addresses

WEIGHTINGS = ("softmax", "similarity", "inverse_distance")
"""Weightings in the order of the enum of episodic_step.h."""

SIZES = (
    "stores", "members", "inputs", "hidden", "key_size", "value_size", "capacity", "top_k", "weighting", "distance",
    "stores_x", "stores_h", "passes_gradient",
)  # fmt: skip
SAVED = ("query", "read", "gates", "candidate", "new_h")
SHARED = ("spans", "keys", "values", "first_h", "masked_h", "after", "index", "weights", *SAVED, "scratch")
FORWARD = (
    "starts", "valid", "x", "x_products", "h_products", "read_products", "bias_h", "pending_key", "pending_value",
)  # fmt: skip
BACKWARD = (
    "grad_after", "grad_pending_value", "grad_read", "grad_keys", "grad_values", "carry", "grad_x_products",
    "grad_h_products",
)  # fmt: skip


class EpisodicStep(ctypes.Structure):
    """The struct of the same name of episodic_step.h."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in SIZES),
        ("scale", ctypes.c_double),
        *((name, ctypes.c_void_p) for name in (*SHARED, *FORWARD, *BACKWARD)),
    )


ARGUMENTS = ctypes.POINTER(EpisodicStep), ctypes.c_int64
"""Types of the arguments of a kernel: the struct and the number of the step."""


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

    @property
    def saved(self) -> list[int]:
        """Where in the tensor of what the steps save each part of `SAVED` begins, and its end."""
        widths = self.key, self.value, 2 * self.hidden, self.hidden, self.hidden
        return [self.steps * self.rows * end for end in accumulate(widths, initial=0)]

    def part(self, saved: Tensor, name: str) -> Tensor:
        """A part of what the steps save, (T, S N, ...).

        Args:
            saved: all parts, one after the other.
            name: one of `SAVED`.
        """
        i, bounds = SAVED.index(name), self.saved
        return saved[bounds[i] : bounds[i + 1]].view(self.steps, self.rows, -1)

    def struct(
        self, config: FusedConfig, storage: tuple[Tensor, Tensor], shared: list[Tensor | None], saved: Tensor,
        scratch: Tensor, forward: list[Tensor | None], backward: list[Tensor | None],
    ) -> EpisodicStep:  # fmt: skip
        """The struct for the kernels. Tensors are contiguous, and must live as long as it is used.

        Args:
            config: static options, with spans.
            storage: keys and values of the log.
            shared: first_h, masked_h, after, index and weights.
            saved: what the steps save.
            scratch: numbers that the kernels may overwrite.
            forward: the tensors of `FORWARD`, or none in the backward pass.
            backward: the tensors of `BACKWARD`, or none in the forward pass.
        """
        stores, capacity, _ = storage[0].shape
        spans = (ctypes.c_int64 * (3 * self.steps))(*chain.from_iterable(config.spans))
        first, width = saved.data_ptr(), saved.element_size()
        step = EpisodicStep(
            stores, self.rows // stores, self.inputs, self.hidden, self.key, self.value, capacity, self.top_k,
            WEIGHTINGS.index(config.attend.weighting), config.attend.distance, config.row_content != "h",
            config.row_content != "x", not config.detach, config.scale,
            ctypes.addressof(spans), *addresses((*storage, *shared)), *(first + width * at for at in self.saved[:-1]),
            *addresses((scratch, *(forward or [None] * len(FORWARD)), *backward)),
        )  # fmt: skip
        step.numbers = spans  # lives as long as the struct
        return step
