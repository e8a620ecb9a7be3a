"""Memories by one word: what an expert remembers with, beside its controller. Flags that recipes share."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from comms import get_by_name
from experts import (
    AMRL,
    DNC,
    ClusteredMemory,
    Core,
    EpisodicMemory,
    GTrXL,
    LookupTable,
    NeuralMemory,
    Plastic,
    Private,
    Window,
    private_and_shared,
)
from tasks import IntOrRange, size_range

MemoryName = Literal[
    "none", "private", "shared", "both", "clustered", "neural", "neural_gradient", "lookup", "dnc", "plastic", "amrl",
    "gtrxl", "window",
]  # fmt: skip

META_LOSS_WEIGHTS = {"neural": 0.1, "neural_gradient": 0.01}


@dataclass(frozen=True, kw_only=True)
class MemoryFlags:
    """The memory of an expert, by name, and its sizes.

    Args:
        memory: none; episodic: private, one each, shared, one for all, both, or clustered, one each that merges rows;
            or one each of another kind: neural, with the local rule, neural_gradient, a lookup table, a dnc, amrl, the
            maximum of half of the controller's outputs, or a window over the last inputs; or instead of a controller:
            plastic weights, or gtrxl, a gated transformer.
        slots: rows of memory an expert; one for all has experts x slots. Of a DNC, too; steps that a window or each
            layer of a gtrxl sees.
        top_k: rows read in a step, of an episodic memory.
        key_size: numbers in a key; also in a value of a neural memory, a lookup table, a window or a gtrxl, and in a
            slot of a DNC.
        key_input_scale: of the first weights of the input in keys of an episodic memory, beside those of the output;
            below 1 where the input is the louder one.
        heads: of a neural memory, a lookup table, a DNC, a window or a gtrxl.
        meta_loss_weight: weight of a neural memory's meta loss; None: .1 with the local rule, .01 with the gradient rule. With 1,
            which is the paper's, values go to zero, which costs nothing, before the task has found a use for them
            (notebooks/LOG.md).
    """

    memory: MemoryName = "private"
    slots: int = 64
    top_k: int = 8
    key_size: int = 16
    key_input_scale: float = 1.0
    heads: int = 1
    meta_loss_weight: float | None = None

    def core_factory(self, controller: Callable[[int], Core], experts: IntOrRange) -> Callable[[int], Core]:
        """A core with that memory around the controller; both are factories of the size of their input.

        Raises:
            ValueError: there is no such memory.
        """
        slots, width, heads = self.slots, self.key_size, self.heads
        options: dict[str, Any] = {
            "top_k": self.top_k, "key_size": width, "key_input_scale": self.key_input_scale,
        }  # fmt: skip

        def neural(size: int, rule: Literal["local", "gradient"]) -> Core:
            return Private(NeuralMemory(size, controller, width=width, heads=heads, rule=rule))

        pooled = slots * size_range(experts=experts)[1]
        kinds: dict[str, Callable[[int], Core]] = {
            "none": controller,
            "private": lambda size: Private(EpisodicMemory(size, controller, slots=slots, **options)),
            "shared": lambda size: EpisodicMemory(size, controller, slots=pooled, **options),
            "both": lambda size: private_and_shared(size, controller, slots=slots, shared_slots=pooled, **options),
            "clustered": lambda size: Private(ClusteredMemory(size, controller, slots=slots, **options)),
            "neural": partial(neural, rule="local"),
            "neural_gradient": partial(neural, rule="gradient"),
            "lookup": lambda size: Private(
                LookupTable(size, controller, key_size=width, value_size=width, heads=heads)
            ),
            "dnc": lambda size: Private(DNC(size, controller, slots=slots, slot_size=width, heads=heads)),
            "plastic": lambda size: Plastic(size, controller(1).output_size),
            "amrl": lambda size: AMRL(size, controller),
            "gtrxl": lambda size: GTrXL(size, controller(1).output_size, memory=slots, heads=heads, key_size=width),
            "window": lambda size: Window(size, controller, slots=slots, key_size=width, value_size=width, heads=heads),
        }
        return get_by_name(kinds, self.memory, "memory")

    @property
    def auxiliary_weights(self) -> dict[str, float]:
        """Weights of the losses that this memory brings along.

        Raises:
            ValueError: `meta_loss_weight` is given, and is below 0 or the memory has no such loss.
        """
        if self.meta_loss_weight is not None and (
            self.memory not in META_LOSS_WEIGHTS or not self.meta_loss_weight >= 0
        ):
            raise ValueError(
                f"meta_loss_weight={self.meta_loss_weight} with memory={self.memory!r}, want a number from 0 on, and memory one of: "
                f"{', '.join(META_LOSS_WEIGHTS)}; no other has that loss"
            )
        if self.memory not in META_LOSS_WEIGHTS:
            return {}
        weight = META_LOSS_WEIGHTS[self.memory] if self.meta_loss_weight is None else self.meta_loss_weight
        return {"meta": weight} if weight else {}
