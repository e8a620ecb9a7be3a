"""Differentiable neural computer, DNC (Graves et al. 2016; options of Csordas and Schmidhuber 2019)."""

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
    """State of a `DNC`: the store (memory, usage, link, precedence), and the last step of each member.

    Args:
        controller: state of the controller.
        memory: content of the slots.
        usage: usage of each slot after the last write.
        link: link[i, j] is the degree to which slot i was written right after slot j.
        precedence: degree to which each slot was the last one written.
        write_weights: over slots.
        read_weights: over slots, of each read head.
        read: read vectors of all heads, concatenated.
        write_key: key of the last write.
        write_value: value of the last write.
        gates: write gate, allocation gate, free gate of each head; G = 2 + R.
        modes: weights of the three read modes of each head: backward link, content, forward link.
    """

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
    """Differentiable neural computer: a controller with an external memory, read and written by attention.

    A step: the controller receives [x, previous read vectors]; a linear map of its output h gives the interface vector.
    Free gates release slots that were read. The write weights are a gated mix of allocation (slots with low usage) and
    content (slots similar to the write key); a write erases and adds. Temporal links record the order of writes. Each
    read head mixes content weights with the backward and forward links of its previous read weights.
    y = Linear([h, read]).

    Members of one store write one after the other, each as in a step of its own (free, allocate, write, link), so that
    two members do not allocate the same slot. They therefore do not permute exactly. Then all members read. The cost of
    a step grows with their number. Links are S x S numbers a store, and an episode with gradients keeps those of
    each step.

    As in the paper, no gradient passes through the sorting of slots by usage. Unlike the paper, cosines and usages are
    kept 1e-6 away from values without a gradient (`experts.dnc.addressing`). A step is one autograd function with a
    backward pass written by hand (`experts.dnc.fused_step`); with create_graph=True the gradient is computed by plain
    operations, which have second derivatives.

    Args:
        input_size: D.
        controller: a factory int -> Core; the controller's input is [x, previous read vectors].
        slots: S.
        slot_size: W, numbers in a slot.
        heads: R, read heads; there is one write head.
        output_size: Y; None: that of the controller.
        masking: keys have a learned mask over the numbers of a slot.
        deallocation: freed slots are also erased; else only when they are written again.
        sharpness: link weights are raised to a power that the controller outputs, and normalized.

    Raises:
        ValueError: a size below 1, or a controller whose sizes do not fit.

    Source: Graves et al. 2016 (Nature 538, Methods); masking, deallocation and sharpness: Csordas and Schmidhuber 2019
    (arXiv:1904.10278).
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
        features, state = self._step(x, state, present)
        return self.output(features), state

    def unroll(
        self, xs: Float[Tensor, "T B N D"], state: DNCState, reset: Bool[Tensor, "T B"] | None = None
    ) -> tuple[Float[Tensor, "T B N Y"], DNCState]:
        """As the loop of `forward`; the output layer is one product for all steps."""
        features = []
        for t, x in enumerate(xs):
            if reset is not None:
                state = states.where(reset[t], self.initial_state(x), state)
            step_features, state = self._step(x, state)
            features.append(step_features)
        return self.output(torch.stack(features)), state

    def _step(self, x: Tensor, state: DNCState, present: Tensor | None = None) -> tuple[Tensor, DNCState]:
        """The input [h, read] of the output layer, and the new state."""
        h, controller = self.controller(torch.cat([x, state.read], -1), state.controller, present)
        interface = self.interface(h)
        store = DNCStore(state.memory, state.usage, state.link, state.precedence)
        result = step(self.interface_spec, present, interface, state.read_weights, store)
        key, value = interface[..., : self.slot_size], interface[..., self.slot_size : 2 * self.slot_size]
        member_state = result.written, result.weights, result.values, key, value, result.gates, result.modes
        if present is not None:
            previous = state[len(DNCState._fields) - len(member_state) :]
            member_state = states.where(present, member_state, previous)
        new = DNCState(controller, result.memory, result.usage, result.link, result.precedence, *member_state)
        return torch.cat([h, new.read], -1), new

    def losses(self, state: DNCState) -> dict[str, Float[Tensor, " B"]]:
        return self.controller.losses(state.controller)

    def metrics(self, state: DNCState) -> dict[str, Float[Tensor, " B"]]:
        """Means of slot usage, gates, read modes and norm of a slot; and the controller's metrics."""
        write, allocation = state.gates[..., :2].mean(1).unbind(-1)
        backward, content, forward = state.modes.unflatten(-1, (-1, 3)).mean((1, 2)).unbind(-1)
        return {
            "slot_usage": state.usage.mean(-1),
            "write_gate": write,
            "allocation_gate": allocation,
            "free_gates": state.gates[..., 2:].mean((1, 2)),
            "read_backward": backward,
            "read_content": content,
            "read_forward": forward,
            "memory_norm": state.memory.norm(dim=-1).mean(-1),
            **self.controller.metrics(state.controller),
        }

    def read_weights(self, state: DNCState) -> Float[Tensor, "B N slots"]:
        """Mean over the read heads."""
        return state.read_weights.mean(2)

    def write_weights(self, state: DNCState) -> Float[Tensor, "B N slots"]:
        return state.write_weights

    def select_members(self, state: DNCState, index: Int[Tensor, " M"], x: Float[Tensor, "B M D"]) -> DNCState:
        """Selects the state of members; the store, which they share, is unchanged."""
        controller_input = x.new_zeros(*x.shape[:2], self.controller.input_size)
        dropped = dict.fromkeys(("controller", *STORE_FIELDS))
        member_state, initial = (s._replace(**dropped) for s in (state, self.initial_state(x)))  # type: ignore[arg-type]
        shared = {name: getattr(state, name) for name in STORE_FIELDS}
        controller = self.controller.select_members(state.controller, index, controller_input)
        return states.select_or_reset_members(member_state, initial, index)._replace(controller=controller, **shared)
