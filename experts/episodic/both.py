"""A private episodic memory combined with a shared one."""

from collections.abc import Callable
from functools import partial

from experts.core import Core, Private
from experts.episodic.memory import EpisodicMemory


def private_and_shared(
    input_size: int,
    controller: Callable[[int], Core],
    *,
    slots: int = 64,
    shared_slots: int = 1024,
    top_k: int = 8,
    key_size: int = 16,
    key_input_scale: float = 1.0,
    wrap_shared: Callable[[EpisodicMemory], Core] | None = None,
) -> Core:
    """A shared episodic memory whose controller is a private episodic memory for each member.

    The private memory receives [x, read vector of the shared memory] as its input, and its keys depend on both. Its
    rows hold the controller's hidden state only.

    Args:
        input_size: D.
        controller: a factory int -> Core, as for `EpisodicMemory`.
        slots: rows of each private store.
        shared_slots: rows of the shared store.
        top_k, key_size, key_input_scale: of both memories, as in `EpisodicMemory`.
        wrap_shared: a wrapper of the shared memory, such as partial(TaggedMemory, gate=True); None: no wrapper.
    """
    episodic = partial(EpisodicMemory, top_k=top_k, key_size=key_size, key_input_scale=key_input_scale)
    private = partial(episodic, controller=controller, slots=slots, row_content="h")
    memory = episodic(input_size, lambda size: Private(private(size)), slots=shared_slots)
    return memory if wrap_shared is None else wrap_shared(memory)
