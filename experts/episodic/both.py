"""A memory of one's own beside one that all share."""

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
    share: Callable[[EpisodicMemory], Core] | None = None,
) -> Core:
    """A shared memory whose controller is a private one: members read [x, what all know, what each knows itself].

    Memories nest, so that this is a composition and no core of its own. The private memory sees what was read from the
    shared one as part of its input, and keys its rows with it; rows hold the controller's state, not that input again.

    Args:
        input_size: D.
        controller: a factory int -> Core, as for `EpisodicMemory`.
        slots: rows of each private store. shared_slots: of the shared one.
        top_k, key_size, key_input_scale: of both.
        share: what is made of the shared memory, such as partial(Shared, gate=True); None: it stays as it is.
    """
    reading = partial(EpisodicMemory, top_k=top_k, key_size=key_size, key_input_scale=key_input_scale)
    private = partial(reading, controller=controller, slots=slots, row_content="h")
    memory = reading(input_size, lambda size: Private(private(size)), slots=shared_slots)
    return memory if share is None else share(memory)
