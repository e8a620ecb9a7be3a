"""Sparse differentiable neural computer, SDNC (Rae et al. 2016, supplementary D)."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import softplus

from experts import state as states
from experts.core import Core, check_positive, make_controller
from experts.sparse.approximate import search_by
from experts.sparse.heads import check_access, dense_weights, similarity_weights, used_slots
from experts.sparse.links import AFTER, BEFORE, link, moved, strongest
from experts.sparse.slots import Slots
from experts.state import State


class SDNCState(NamedTuple):
    """State of an `SDNC`: the slots, the precedence, and the last step of each member.

    Args:
        controller: state of the controller.
        slots: content and links of the slots, and when each was last used.
        last_written: slots of the largest precedence, the degree to which a slot was the last one written.
        precedence: of these slots.
        read_index: slots that each head read: by content, forward and backward.
        read_strengths: weights of these slots.
        written_index: slots that were written: those read before, and the least recently used one.
        write_strengths: weights of these slots.
        read: read vectors of all heads, concatenated.
        write_value: vectors that were written.
        gates: write gate and interpolation gate.
        modes: weights of the three ways to read, of each head: backward link, content, forward link.
    """

    controller: State
    slots: Slots
    last_written: Int[Tensor, "B L"]
    precedence: Float[Tensor, "B L"]
    read_index: Int[Tensor, "B N H K3"]
    read_strengths: Float[Tensor, "B N H K3"]
    written_index: Int[Tensor, "B N J"]
    write_strengths: Float[Tensor, "B N J"]
    read: Float[Tensor, "B N HW"]
    write_value: Float[Tensor, "B N W"]
    gates: Float[Tensor, "B N 2"]
    modes: Float[Tensor, "B N H3"]


SHARED_FIELDS = ("slots", "last_written", "precedence")


class SDNC(Core):
    """Sparse differentiable neural computer: a sparse access memory that also reads along the order of writes.

    A member has one write, as a DNC has, to the slots that its heads read before and to the slot that was used longest
    ago, which is erased:

        w = alpha (gamma mean over heads of w_read + (1 - gamma) w_least_recently_used)

    Each of the H heads then reads `top_k` slots by content, `top_k` forward and `top_k` backward along the temporal
    links, mixed by a softmax of three numbers. Links of a slot are its `links` strongest (`experts.sparse.links`); as
    in the paper, no gradient passes through them. y = Linear([h, read]). Cost and memory of a step are those of `SAM`.

    Members of one memory write at once: their write weights of a slot are summed and clamped to 1 for the links. Each
    erases a slot of its own, in the order of members, so that they do not permute exactly.

    Args:
        input_size: D.
        controller: a factory int -> Core; the controller's input is [x, previous read vectors].
        slots: R.
        slot_size: W, numbers in a slot.
        heads: H, which read; there is one write.
        top_k: K, slots that a head reads in each of the three ways.
        links: L, links of a slot in each direction, and slots of the precedence.
        threshold: sum of weights with which a slot counts as used.
        index: exact: all slots are compared with a query; ivf: approximate search among more than 16,384 words, by
            lists of the optional library faiss.
        probes: lists that ivf searches for a query; more find more of the most similar words.
        output_size: Y; None: that of the controller.

    Raises:
        ValueError: a size below 1, more slots to read than there are, a controller whose sizes do not fit, or ivf
            without faiss.

    Source: Rae et al. 2016 (arXiv:1610.09027), supplementary D.
    """

    def __init__(
        self,
        input_size: int,
        controller: Callable[[int], Core],
        *,
        slots: int = 1024,
        slot_size: int = 32,
        heads: int = 4,
        top_k: int = 4,
        links: int = 8,
        threshold: float = 0.005,
        index: Literal["exact", "ivf"] = "exact",
        probes: int = 64,
        output_size: int | None = None,
    ):
        super().__init__()
        sizes = {"slots": slots, "slot_size": slot_size, "heads": heads, "top_k": top_k, "links": links}
        check_positive(**sizes, output_size=1 if output_size is None else output_size)
        check_access(slots, top_k, threshold)
        reads = heads * slot_size
        self.controller = make_controller(controller, input_size, reads)
        hidden = self.controller.output_size
        self.input_size, self.output_size = input_size, hidden if output_size is None else output_size
        self.slots, self.slot_size, self.heads, self.top_k, self.links = slots, slot_size, heads, top_k, links
        self.threshold = threshold
        self.ivf = search_by(index, probes)
        self.interface = nn.Linear(hidden, heads * (slot_size + 4) + slot_size + 2)
        self.output = nn.Linear(hidden + reads, self.output_size)

    def initial_state(self, x: Float[Tensor, "B N D"]) -> SDNCState:
        batch, n, _ = x.shape
        read = x.new_zeros(batch, n, self.heads, 3 * self.top_k)
        written = x.new_zeros(batch, n, 3 * self.top_k * self.heads + 1)
        precedence = x.new_zeros(batch, self.links)
        return SDNCState(
            self.controller.initial_state(x.new_zeros(batch, n, self.controller.input_size)),
            Slots.empty(x, batch, self.slots, self.slot_size, links=self.links, ivf=self.ivf),
            torch.zeros_like(precedence, dtype=torch.long),
            precedence,
            torch.zeros_like(read, dtype=torch.long),
            read,
            torch.zeros_like(written, dtype=torch.long),
            written,
            x.new_zeros(batch, n, self.heads * self.slot_size),
            x.new_zeros(batch, n, self.slot_size),
            x.new_zeros(batch, n, 2),
            x.new_zeros(batch, n, 3 * self.heads),
        )

    def forward(
        self, x: Float[Tensor, "B N D"], state: SDNCState, present: Bool[Tensor, "B N"] | None = None
    ) -> tuple[Float[Tensor, "B N Y"], SDNCState]:
        members = x.shape[1]
        if members > self.slots:
            raise ValueError(f"slots={self.slots}: {members} members erase one each in a step; want at least as many")
        h, controller = self.controller(torch.cat([x, state.read], -1), state.controller, present)
        of_heads, add, gates = self.interface(h).split([self.heads * (self.slot_size + 4), self.slot_size, 2], -1)
        query, strength, modes = of_heads.unflatten(-1, (self.heads, -1)).split([self.slot_size, 1, 3], -1)
        gates, modes = torch.sigmoid(gates), torch.softmax(modes, -1)
        alpha, gamma = gates.split(1, -1)
        weights = alpha * torch.cat([gamma * state.read_strengths.flatten(2) / self.heads, 1 - gamma], -1)
        if present is not None:
            weights = torch.where(present.unsqueeze(-1), weights, 0)
        written = torch.cat(
            [state.read_index.flatten(2), state.slots.least_recently_used(members, present).unsqueeze(-1)], -1
        )
        slots = state.slots.write(written, present, weights, add)
        slots, last_written, precedence = self._link(slots, state, written, weights)
        found, mixed = self._found(slots, state, query)
        content, slots = slots.read(found)
        similar = similarity_weights(query, softplus(strength) + 1, content[..., : self.top_k, :])
        read_weights = torch.cat([similar * modes[..., 1:2], mixed[0] * modes[..., 2:], mixed[1] * modes[..., :1]], -1)
        read = (read_weights.unsqueeze(-2) @ content).flatten(2)
        as_head = written.unsqueeze(2), weights.unsqueeze(2)
        slots = slots.mark_used(*used_slots(as_head, (found, read_weights), self.threshold, present))
        new = found, read_weights, written, weights, read, add, gates, modes.flatten(2)
        if present is not None:
            new = states.where(present, new, tuple(state[4:]))
        after = SDNCState(controller, slots, last_written, precedence, *new)
        return self.output(torch.cat([h, after.read], -1)), after

    def _link(self, slots: Slots, state: SDNCState, written: Tensor, weights: Tensor) -> tuple[Slots, Tensor, Tensor]:
        """The slots with the links of this write, and the precedence after it."""
        rows, sums = strongest(written.flatten(1), weights.detach().flatten(1), written.shape[1:].numel())
        sums = sums.clamp(max=1)
        before = state.last_written, state.precedence
        slots = slots.change(lambda ops, arrays, undo: link(ops, arrays, (rows, sums), before, undo))
        left = (1 - sums.sum(-1, keepdim=True)).clamp(min=0)
        last = torch.cat([state.last_written, rows], -1), torch.cat([left * state.precedence, sums], -1)
        return slots, *strongest(*last, self.links)

    def _found(self, slots: Slots, state: SDNCState, query: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """The slots (B, N, H, 3 K) that are read by content, forward and backward; the weights of the last two."""
        shape = query.shape[1:3]
        arrays = slots.version.restored()
        rows, weights = state.read_index.flatten(1, 2), state.read_strengths.detach().flatten(1, 2)
        forward = moved(arrays, BEFORE, rows, weights, self.top_k)
        backward = moved(arrays, AFTER, rows, weights, self.top_k)
        found = torch.cat([slots.nearest(query.flatten(1, 2), self.top_k), forward[0], backward[0]], -1)
        return found.unflatten(1, shape), (forward[1].unflatten(1, shape), backward[1].unflatten(1, shape))

    def losses(self, state: SDNCState) -> dict[str, Float[Tensor, " B"]]:
        return self.controller.losses(state.controller)

    def metrics(self, state: SDNCState) -> dict[str, Float[Tensor, " B"]]:
        """Means of the gates, of the read modes and of the number of slots in use; and the controller's metrics."""
        write, interpolation = state.gates.mean(1).unbind(-1)
        backward, content, forward = state.modes.unflatten(-1, (-1, 3)).mean((1, 2)).unbind(-1)
        return {
            "write_gate": write,
            "interpolation_gate": interpolation,
            "read_backward": backward,
            "read_content": content,
            "read_forward": forward,
            "slots_used": state.slots.used().to(write.dtype),
            **self.controller.metrics(state.controller),
        }

    def read_weights(self, state: SDNCState) -> Float[Tensor, "B N slots"]:
        """Mean over the heads."""
        return dense_weights(state.read_index.flatten(2), state.read_strengths.flatten(2) / self.heads, self.slots)

    def write_weights(self, state: SDNCState) -> Float[Tensor, "B N slots"]:
        return dense_weights(state.written_index, state.write_strengths, self.slots)

    def select_members(self, state: SDNCState, index: Int[Tensor, " M"], x: Float[Tensor, "B M D"]) -> SDNCState:
        """Selects the state of members; slots and precedence, which they share, are unchanged."""
        controller_input = x.new_zeros(*x.shape[:2], self.controller.input_size)
        dropped = dict.fromkeys(("controller", *SHARED_FIELDS))
        member_state, initial = (s._replace(**dropped) for s in (state, self.initial_state(x)))  # type: ignore[arg-type]
        shared = {name: getattr(state, name) for name in SHARED_FIELDS}
        controller = self.controller.select_members(state.controller, index, controller_input)
        return states.select_or_reset_members(member_state, initial, index)._replace(controller=controller, **shared)
