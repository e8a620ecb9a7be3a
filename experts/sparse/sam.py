"""Sparse access memory, SAM (Rae et al. 2016)."""

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
from experts.sparse.slots import Slots
from experts.state import State


class SAMState(NamedTuple):
    """State of a `SAM`: the slots, and the last step of each member.

    Args:
        controller: state of the controller.
        slots: content of the slots, and when each was last used.
        read_index: slots that each head read.
        read_strengths: weights of these slots.
        written_index: slots that each head wrote: those that it had read before, and the least recently used one.
        write_strengths: weights of these slots.
        read: read vectors of all heads, concatenated.
        write_value: vectors that the heads wrote, concatenated.
        gates: write gate and interpolation gate of each head.
    """

    controller: State
    slots: Slots
    read_index: Int[Tensor, "B N H K"]
    read_strengths: Float[Tensor, "B N H K"]
    written_index: Int[Tensor, "B N H L"]
    write_strengths: Float[Tensor, "B N H L"]
    read: Float[Tensor, "B N HW"]
    write_value: Float[Tensor, "B N HW"]
    gates: Float[Tensor, "B N H2"]


class SAM(Core):
    """Sparse access memory: a controller with a large external memory, of which a step touches few slots.

    A step: the controller receives [x, previous read vectors]; a linear map of its output h gives each head a query,
    its strength, a vector a to write, a write gate alpha and an interpolation gate gamma. Each head erases the slot
    that was used longest ago, and adds a to slots with the weights

        alpha (gamma w_read + (1 - gamma) w_least_recently_used)

    where w_read are its previous read weights. It then reads the `top_k` slots most similar to its query, weighted by
    the softmax of strength times cosine similarity. y = Linear([h, read]). A slot counts as used by a head that reads
    and writes it with weights of a sum above `threshold`.

    Writes are in place, and undone where an old state is used again (`experts.sparse.slots`). The backward pass touches
    the same few slots. So an episode of T steps takes O(T K + R W) memory, and the time of a step beside the search is
    independent of the number of slots R. Exact search compares all slots with the query; with `index="ivf"` it is
    approximate (`experts.sparse.approximate`).

    The paper's equation 6 takes the slot of minimal usage, which is right for a decayed sum of weights; for the time
    since the last use it must be the maximum. The similarity's strength is not in the paper's list of a head's
    parameters; without it a softmax of cosines is nearly uniform.

    Members of one memory write at once; each head erases a slot of its own, in the order of members, so that they do
    not permute exactly.

    Args:
        input_size: D.
        controller: a factory int -> Core; the controller's input is [x, previous read vectors].
        slots: R.
        slot_size: W, numbers in a slot.
        heads: H, each of which writes and reads.
        top_k: K, slots that a head reads.
        threshold: sum of weights with which a slot counts as used.
        index: exact: all slots are compared with a query; ivf: approximate search among more than 16,384 words, by
            lists of the optional library faiss.
        probes: lists that ivf searches for a query; more find more of the most similar words.
        output_size: Y; None: that of the controller.

    Raises:
        ValueError: a size below 1, more slots to read than there are, a controller whose sizes do not fit, or ivf
            without faiss.

    Source: Rae et al. 2016 (arXiv:1610.09027), section 3.
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
        threshold: float = 0.005,
        index: Literal["exact", "ivf"] = "exact",
        probes: int = 64,
        output_size: int | None = None,
    ):
        super().__init__()
        check_positive(
            slots=slots,
            slot_size=slot_size,
            heads=heads,
            top_k=top_k,
            output_size=1 if output_size is None else output_size,
        )
        check_access(slots, top_k, threshold)
        reads = heads * slot_size
        self.controller = make_controller(controller, input_size, reads)
        hidden = self.controller.output_size
        self.input_size, self.output_size = input_size, hidden if output_size is None else output_size
        self.slots, self.slot_size, self.heads, self.top_k, self.threshold = slots, slot_size, heads, top_k, threshold
        self.ivf = search_by(index, probes)
        self.interface = nn.Linear(hidden, heads * (2 * slot_size + 3))
        self.output = nn.Linear(hidden + reads, self.output_size)

    def initial_state(self, x: Float[Tensor, "B N D"]) -> SAMState:
        batch, n, _ = x.shape
        vectors = x.new_zeros(batch, n, self.heads * self.slot_size)
        read, written = (x.new_zeros(batch, n, self.heads, k) for k in (self.top_k, self.top_k + 1))
        return SAMState(
            self.controller.initial_state(x.new_zeros(batch, n, self.controller.input_size)),
            Slots.empty(x, batch, self.slots, self.slot_size, ivf=self.ivf),
            torch.zeros_like(read, dtype=torch.long),
            read,
            torch.zeros_like(written, dtype=torch.long),
            written,
            vectors,
            vectors.clone(),
            x.new_zeros(batch, n, 2 * self.heads),
        )

    def forward(
        self, x: Float[Tensor, "B N D"], state: SAMState, present: Bool[Tensor, "B N"] | None = None
    ) -> tuple[Float[Tensor, "B N Y"], SAMState]:
        members = x.shape[1]
        if members * self.heads > self.slots:
            raise ValueError(
                f"slots={self.slots}: {members} members with {self.heads} heads erase {members * self.heads} slots in "
                f"a step; want at least as many slots"
            )
        h, controller = self.controller(torch.cat([x, state.read], -1), state.controller, present)
        interface = self.interface(h).unflatten(-1, (self.heads, -1))
        query, add, strength, gates = interface.split([self.slot_size, self.slot_size, 1, 2], -1)
        gates = torch.sigmoid(gates)
        alpha, gamma = gates.split(1, -1)
        weights = alpha * torch.cat([gamma * state.read_strengths, 1 - gamma], -1)  # (B, N, H, L)
        active = None
        if present is not None:
            weights = torch.where(present[..., None, None], weights, 0)
            active = present.repeat_interleave(self.heads, 1)
        oldest = state.slots.least_recently_used(members * self.heads, active)
        written = torch.cat([state.read_index.flatten(1, 2), oldest.unsqueeze(-1)], -1)  # (B, M, L)
        slots = state.slots.write(written, active, weights.flatten(1, 2), add.flatten(1, 2))
        found = slots.nearest(query.flatten(1, 2), self.top_k)
        content, slots = slots.read(found)
        written, found, content = (part.unflatten(1, (members, self.heads)) for part in (written, found, content))
        read_weights = similarity_weights(query, softplus(strength) + 1, content)
        read = (read_weights.unsqueeze(-2) @ content).flatten(2)
        slots = slots.mark_used(*used_slots((written, weights), (found, read_weights), self.threshold, present))
        new = found, read_weights, written, weights, read, add.flatten(2), gates.flatten(2)
        if present is not None:
            new = states.where(present, new, tuple(state[2:]))
        after = SAMState(controller, slots, *new)
        return self.output(torch.cat([h, after.read], -1)), after

    def losses(self, state: SAMState) -> dict[str, Float[Tensor, " B"]]:
        return self.controller.losses(state.controller)

    def metrics(self, state: SAMState) -> dict[str, Float[Tensor, " B"]]:
        """Means of the gates, of the entropy of read weights in nats, and of the fraction of slots in use."""
        write, interpolation = state.gates.unflatten(-1, (-1, 2)).mean((1, 2)).unbind(-1)
        weights = state.read_strengths
        return {
            "write_gate": write,
            "interpolation_gate": interpolation,
            "read_entropy": -torch.xlogy(weights, weights).sum(-1).mean((1, 2)),
            "slots_used": state.slots.used().to(write.dtype),
            **self.controller.metrics(state.controller),
        }

    def read_weights(self, state: SAMState) -> Float[Tensor, "B N slots"]:
        """Mean over the heads."""
        return dense_weights(state.read_index.flatten(2), state.read_strengths.flatten(2) / self.heads, self.slots)

    def write_weights(self, state: SAMState) -> Float[Tensor, "B N slots"]:
        """Mean over the heads."""
        return dense_weights(state.written_index.flatten(2), state.write_strengths.flatten(2) / self.heads, self.slots)

    def select_members(self, state: SAMState, index: Int[Tensor, " M"], x: Float[Tensor, "B M D"]) -> SAMState:
        """Selects the state of members; the slots, which they share, are unchanged."""
        controller_input = x.new_zeros(*x.shape[:2], self.controller.input_size)
        member_state, initial = (s._replace(controller=None, slots=None) for s in (state, self.initial_state(x)))  # type: ignore[arg-type]
        controller = self.controller.select_members(state.controller, index, controller_input)
        return states.select_or_reset_members(member_state, initial, index)._replace(
            controller=controller, slots=state.slots
        )
