"""Memories by one word: what an expert remembers with, beside its controller. Flags that recipes share."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from comms import pick
from experts import ClusteredMemory, Core, EpisodicMemory, Private, both
from tasks import Size, ends

Memory = Literal["none", "private", "shared", "both", "clustered"]


@dataclass(frozen=True, kw_only=True)
class Memories:
    """The memory of an expert, by name, and its sizes.

    Args:
        memory: episodic memory of the experts: none, one each, one for all, both, or one each that merges rows.
        slots: rows of memory an expert; one for all has experts x slots.
        top_k: rows read in a step.
        key_size: numbers in a key.
    """

    memory: Memory = "private"
    slots: int = 64
    top_k: int = 8
    key_size: int = 16

    def core(self, controller: Callable[[int], Core], experts: Size) -> Callable[[int], Core]:
        """A core with that memory around the controller; both are factories of the size of their input.

        Raises:
            ValueError: there is no such memory.
        """
        slots = self.slots
        options: dict[str, Any] = {"top_k": self.top_k, "key_size": self.key_size}
        pooled = slots * ends(experts=experts)[1]
        kinds: dict[str, Callable[[int], Core]] = {
            "none": controller,
            "private": lambda size: Private(EpisodicMemory(size, controller, slots=slots, **options)),
            "shared": lambda size: EpisodicMemory(size, controller, slots=pooled, **options),
            "both": lambda size: both(size, controller, slots=slots, shared_slots=pooled, **options),
            "clustered": lambda size: Private(ClusteredMemory(size, controller, slots=slots, **options)),
        }
        return pick(kinds, self.memory, "memory")
