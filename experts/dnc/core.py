"""The differentiable neural computer (Graves et al. 2016, Nature 538), and three improvements (Csordas and
Schmidhuber 2019, arXiv:1904.10278)."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from experts import state as states
from experts.core import Core, check_positive, make_controller
from experts.dnc.fused_step import DNCStore, step
from experts.dnc.interface import InterfaceSpec
from experts.state import State


class DNCState(NamedTuple):
    """usage: after the last write. link[i, j]: how much slot i was written to right after slot j. precedence: how much
    a slot was the last one written to. These and the memory are the store's, the rest is of the last step of each
    member: gates of writing, of writing to what is free, and of freeing, a head each; modes of reading, a head each:
    what was written before, by content, what was written after."""

    controller: State
    memory: Float[Tensor, "B S W"]
    usage: Float[Tensor, "B S"]
    link: Float[Tensor, "B S S"]
    precedence: Float[Tensor, "B S"]
    write_weights: Float[Tensor, "B N S"]
    read_weights: Float[Tensor, "B N R S"]
    read: Float[Tensor, "B N RW"]
    write_key: Float[Tensor, "B N W"]
    write_value: Float[Tensor, "B N W"]
    gates: Float[Tensor, "B N G"]
    modes: Float[Tensor, "B N R3"]


STORE_FIELDS = DNCStore._fields


class DNC(Core):
    """A controller beside a memory that it writes to and reads from by attention, all of it differentiable.

    A step, of Graves et al. 2016, Methods: the controller eats [x, what was read in the step before]; a linear map of
    its output h is the interface, which says what to do. What was read may be freed; a write goes to slots that are
    free, to those like its key, or nowhere, erases and adds; links remember in which order slots were written; each
    head reads, of the memory as it is now, what is like its key, or what was written before or after what it read
    last. y = Linear([h, read]).

    Members of one store write one after the other, each as in a step of its own (free, allocate, write, link), so that
    two do not take the same free slot, and what holds for one writer's usages and links holds for theirs; they do not
    permute exactly. Then all read. A step costs more the more they are. Links are slots x slots numbers a store, and an
    episode with gradients holds those of each step.

    No gradient passes through the order in which slots are taken, as in the paper. Beyond it, cosines and usages
    are kept 1e-6 away from where they have no gradient (`experts.dnc.addressing`). A step is one function with its
    backward pass written out (`experts.dnc.fused_step`); with create_graph=True the gradient is made by plain
    operations, which have second derivatives.

    Args:
        input_size: D.
        controller: a factory int -> Core, for the controller eats [x, previous reads].
        slots: S. slot_size: W, numbers in a slot. heads: R, of reading; one writes.
        output_size: Y; None: the controller's.
        masking: keys come with a mask, of which numbers of a slot are compared.
        deallocation: what is freed is also erased; else only its slot is, when it is written to.
        sharpness: links are raised to a power that the controller chooses, and normalised.

    Raises:
        ValueError: a size below 1, or a controller whose sizes do not fit.
    """

    def __init__(
        self,
        input_size: int,
        controller: Callable[[int], Core],
        *,
        slots: int = 64,
        slot_size: int = 32,
        heads: int = 4,
        output_size: int | None = None,
        masking: bool = False,
        deallocation: bool = False,
        sharpness: bool = False,
    ):
        super().__init__()
        check_positive(
            slots=slots, slot_size=slot_size, heads=heads, output_size=1 if output_size is None else output_size
        )
        reads = heads * slot_size
        self.controller = make_controller(controller, input_size, reads)
        hidden = self.controller.output_size
        self.input_size, self.output_size = input_size, hidden if output_size is None else output_size
        self.slots, self.slot_size, self.heads = slots, slot_size, heads
        self.interface_spec = InterfaceSpec(heads, slot_size, masking, deallocation, sharpness)
        self.interface = nn.Linear(hidden, self.interface_spec.size)
        self.output = nn.Linear(hidden + reads, self.output_size)

    def initial_state(self, x: Float[Tensor, "B N D"]) -> DNCState:
        batch, n, _ = x.shape
        slots, size, heads = self.slots, self.slot_size, self.heads
        return DNCState(
            self.controller.initial_state(x.new_zeros(batch, n, self.controller.input_size)),
            x.new_zeros(batch, slots, size),
            x.new_zeros(batch, slots),
            x.new_zeros(batch, slots, slots),
            x.new_zeros(batch, slots),
            x.new_zeros(batch, n, slots),
            x.new_zeros(batch, n, heads, slots),
            x.new_zeros(batch, n, heads * size),
            x.new_zeros(batch, n, size),
            x.new_zeros(batch, n, size),
            x.new_zeros(batch, n, 2 + heads),
            x.new_zeros(batch, n, 3 * heads),
        )

    def forward(
        self, x: Float[Tensor, "B N D"], state: DNCState, present: Bool[Tensor, "B N"] | None = None
    ) -> tuple[Float[Tensor, "B N Y"], DNCState]:
        told, state = self._step(x, state, present)
        return self.output(told), state

    def unroll(
        self, xs: Float[Tensor, "T B N D"], state: DNCState, reset: Bool[Tensor, "T B"] | None = None
    ) -> tuple[Float[Tensor, "T B N Y"], DNCState]:
        """As the loop of `forward`; the outputs are one product for all steps."""
        told = []
        for t, x in enumerate(xs):
            if reset is not None:
                state = states.where(reset[t], self.initial_state(x), state)
            now, state = self._step(x, state)
            told.append(now)
        return self.output(torch.stack(told)), state

    def _step(self, x: Tensor, state: DNCState, present: Tensor | None = None) -> tuple[Tensor, DNCState]:
        """[h, read], of which the output is made, and the new state."""
        h, controller = self.controller(torch.cat([x, state.read], -1), state.controller, present)
        interface = self.interface(h)
        store = DNCStore(state.memory, state.usage, state.link, state.precedence)
        found = step(self.interface_spec, present, interface, state.read_weights, store)
        key, value = interface[..., : self.slot_size], interface[..., self.slot_size : 2 * self.slot_size]
        own = found.written, found.weights, found.values, key, value, found.gates, found.modes
        if present is not None:
            held = state[len(DNCState._fields) - len(own) :]
            own = states.where(present, own, held)
        new = DNCState(controller, found.memory, found.usage, found.link, found.precedence, *own)
        return torch.cat([h, new.read], -1), new

    def losses(self, state: DNCState) -> dict[str, Float[Tensor, " B"]]:
        return self.controller.losses(state.controller)

    def metrics(self, state: DNCState) -> dict[str, Float[Tensor, " B"]]:
        """Means: how much of the memory is used, how far its gates are open, how its heads read, how long a slot is as
        a vector; and the controller's."""
        write, allocation = state.gates[..., :2].mean(1).unbind(-1)
        before, content, after = state.modes.unflatten(-1, (-1, 3)).mean((1, 2)).unbind(-1)
        return {
            "usage": state.usage.mean(-1),
            "write_gate": write,
            "allocation_gate": allocation,
            "free_gates": state.gates[..., 2:].mean((1, 2)),
            "read_backward": before,
            "read_content": content,
            "read_forward": after,
            "memory_norm": state.memory.norm(dim=-1).mean(-1),
            **self.controller.metrics(state.controller),
        }

    def read_weights(self, state: DNCState) -> Float[Tensor, "B N slots"]:
        """The mean of the heads'."""
        return state.read_weights.mean(2)

    def select_members(self, state: DNCState, index: Int[Tensor, " M"], x: Float[Tensor, "B M D"]) -> DNCState:
        """The store stays as it is; what belongs to the members is gathered."""
        inner = x.new_zeros(*x.shape[:2], self.controller.input_size)
        away = dict.fromkeys(("controller", *STORE_FIELDS))
        own, blank = (s._replace(**away) for s in (state, self.initial_state(x)))  # type: ignore[arg-type]
        shared = {name: getattr(state, name) for name in STORE_FIELDS}
        controller = self.controller.select_members(state.controller, index, inner)
        return states.select_or_reset_members(own, blank, index)._replace(controller=controller, **shared)
