"""Neural Turing machine, NTM (Graves et al. 2014)."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from experts import state as states
from experts.core import Core, check_positive, make_controller
from experts.ntm.addressing import HeadParams, address, decode_heads, head_size
from experts.state import State


class NTMState(NamedTuple):
    """State of an `NTM`: the memory, and the last step of each member.

    Args:
        controller: state of the controller.
        memory: content of the slots.
        write_weights: over slots, of each write head.
        read_weights: over slots, of each read head.
        read: read vectors of all heads, concatenated.
        write_key: keys of the write heads, concatenated.
        write_value: vectors that the write heads added, concatenated.
        gates: interpolation gates of the write heads and of the read heads, 1 where content addresses.
    """

    controller: State
    memory: Float[Tensor, "B S W"]
    write_weights: Float[Tensor, "B N H S"]
    read_weights: Float[Tensor, "B N H S"]
    read: Float[Tensor, "B N HW"]
    write_key: Float[Tensor, "B N HW"]
    write_value: Float[Tensor, "B N HW"]
    gates: Float[Tensor, "B N H2"]


class NTM(Core):
    """Neural Turing machine: a controller with an external memory, addressed by content and by location.

    A step: the controller receives [x, previous read vectors]; a linear map of its output h gives the parameters of the
    heads. The weights of a head are content weights, interpolated with its previous weights by a gate, shifted by up to
    `max_shift` slots around the circle of slots, and sharpened. Write heads address the memory first, erase, and add;
    then read heads address and read the new memory. y = Linear([h, read]).

    Members of one memory write at once: all erase, then all add, so that members permute, as heads do in the paper.
    The paper leaves the initial state open. Here the memory is 0 and all heads are at slot 0, so that a shift has a
    place to start from. Slots that are never written differ for a head by their location alone.

    Args:
        input_size: D.
        controller: a factory int -> Core; the controller's input is [x, previous read vectors].
        slots: S.
        slot_size: W, numbers in a slot.
        heads: H, read heads, and as many write heads.
        max_shift: largest shift of a head in a step, in slots.
        output_size: Y; None: that of the controller.

    Raises:
        ValueError: a size below 1, a negative `max_shift`, or a controller whose sizes do not fit.

    Source: Graves et al. 2014 (arXiv:1410.5401), section 3.
    """

    def __init__(
        self,
        input_size: int,
        controller: Callable[[int], Core],
        *,
        slots: int = 64,
        slot_size: int = 32,
        heads: int = 1,
        max_shift: int = 1,
        output_size: int | None = None,
    ):
        super().__init__()
        check_positive(
            slots=slots, slot_size=slot_size, heads=heads, output_size=1 if output_size is None else output_size
        )
        if max_shift < 0:
            raise ValueError(f"max_shift={max_shift}, want at least 0 slots")
        reads = heads * slot_size
        self.controller = make_controller(controller, input_size, reads)
        hidden = self.controller.output_size
        self.input_size, self.output_size = input_size, hidden if output_size is None else output_size
        self.slots, self.slot_size, self.heads = slots, slot_size, heads
        self.address_size = head_size(slot_size, max_shift)
        self.interface = nn.Linear(hidden, 2 * heads * self.address_size + 2 * reads)
        self.output = nn.Linear(hidden + reads, self.output_size)

    def initial_state(self, x: Float[Tensor, "B N D"]) -> NTMState:
        batch, n, _ = x.shape
        vectors = x.new_zeros(batch, n, self.heads * self.slot_size)
        weights = x.new_zeros(batch, n, self.heads, self.slots)
        weights[..., 0] = 1
        return NTMState(
            self.controller.initial_state(x.new_zeros(batch, n, self.controller.input_size)),
            x.new_zeros(batch, self.slots, self.slot_size),
            weights,
            weights.clone(),
            vectors,
            vectors.clone(),
            vectors.clone(),
            x.new_zeros(batch, n, 2 * self.heads),
        )

    def forward(
        self, x: Float[Tensor, "B N D"], state: NTMState, present: Bool[Tensor, "B N"] | None = None
    ) -> tuple[Float[Tensor, "B N Y"], NTMState]:
        h, controller = self.controller(torch.cat([x, state.read], -1), state.controller, present)
        addresses, erase, add = self.interface(h).split(
            [2 * self.heads * self.address_size, *[self.heads * self.slot_size] * 2], -1
        )
        write, read = addresses.unflatten(-1, (2, self.heads, -1)).unbind(2)  # (B, N, H, head_size) each
        memory, written, write_params = self._write(write, erase, add, state, present)
        read_params = decode_heads(read.flatten(1, 2), self.slot_size)
        read_weights = address(read_params, state.read_weights.flatten(1, 2), memory)
        per_head = x.shape[1], self.heads
        gates = [params.gate.unflatten(1, per_head) for params in (write_params, read_params)]
        new = (
            written.unflatten(1, per_head),
            read_weights.unflatten(1, per_head),
            (read_weights @ memory).unflatten(1, per_head).flatten(2),
            write_params.key.unflatten(1, per_head).flatten(2),
            add,
            torch.cat(gates, -1),
        )
        if present is not None:
            new = states.where(present, new, tuple(state[2:]))
        after = NTMState(controller, memory, *new)
        return self.output(torch.cat([h, after.read], -1)), after

    def _write(
        self, write: Tensor, erase: Tensor, add: Tensor, state: NTMState, present: Tensor | None
    ) -> tuple[Tensor, Tensor, HeadParams]:
        """The memory after all heads (B, N H) of present members have written; their weights and parameters."""
        params = decode_heads(write.flatten(1, 2), self.slot_size)
        weights = address(params, state.write_weights.flatten(1, 2), state.memory)
        used = weights
        if present is not None:
            used = weights * present.repeat_interleave(self.heads, 1).unsqueeze(-1)
        erase, add = (part.unflatten(-1, (self.heads, -1)).flatten(1, 2) for part in (torch.sigmoid(erase), add))
        memory = state.memory
        for head in range(used.shape[1]):  # a product over heads has a gradient that depends on where factors are 0
            memory = memory * (1 - used[:, head].unsqueeze(-1) * erase[:, head].unsqueeze(1))
        return memory + used.mT @ add, weights, params

    def losses(self, state: NTMState) -> dict[str, Float[Tensor, " B"]]:
        return self.controller.losses(state.controller)

    def metrics(self, state: NTMState) -> dict[str, Float[Tensor, " B"]]:
        """Means of content gates, of the entropy of weights in nats, and of the norm of a slot; the controller's."""
        write_gate, read_gate = state.gates.unflatten(-1, (2, -1)).mean((1, 3)).unbind(-1)
        write_entropy, read_entropy = (
            -torch.xlogy(w, w).sum(-1).mean((1, 2)) for w in (state.write_weights, state.read_weights)
        )
        return {
            "write_content": write_gate,
            "read_content": read_gate,
            "write_entropy": write_entropy,
            "read_entropy": read_entropy,
            "memory_norm": state.memory.norm(dim=-1).mean(-1),
            **self.controller.metrics(state.controller),
        }

    def read_weights(self, state: NTMState) -> Float[Tensor, "B N slots"]:
        """Mean over the read heads."""
        return state.read_weights.mean(2)

    def write_weights(self, state: NTMState) -> Float[Tensor, "B N slots"]:
        """Mean over the write heads."""
        return state.write_weights.mean(2)

    def select_members(self, state: NTMState, index: Int[Tensor, " M"], x: Float[Tensor, "B M D"]) -> NTMState:
        """Selects the state of members; the memory, which they share, is unchanged."""
        controller_input = x.new_zeros(*x.shape[:2], self.controller.input_size)
        member_state, initial = (s._replace(controller=None, memory=None) for s in (state, self.initial_state(x)))  # type: ignore[arg-type]
        controller = self.controller.select_members(state.controller, index, controller_input)
        return states.select_or_reset_members(member_state, initial, index)._replace(
            controller=controller, memory=state.memory
        )
