"""Shared episodic memory with writer tags, a read gate and a choice of writers."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import pad

from experts import state as states
from experts.core import Core, check_positive
from experts.episodic.memory import EpisodicMemory, EpisodicState
from experts.episodic.row_log import RowLog

GATE_BIAS = 3.0  # initial bias of the gate: sigmoid(3) = 0.95


class TaggedState(NamedTuple):
    """State of a `TaggedMemory`."""

    memory: EpisodicState
    tag: Int[Tensor, "B N"]
    tag_weights: Float[Tensor, "B N tags"]  # fraction of the last read by tag of the writer
    gate: Float[Tensor, "B N"] | None  # mean over the numbers of the read vector


class TaggedMemory(Core):
    """Episodic memory shared by all members, with writer tags, a read gate, or a subset of writers.

    A tag marks the writer of a row, and a reader only distinguishes its own rows from those of others, so members still
    permute. Member i has the one-hot tag i mod `tags`. It is stored with the key: the similarity of a member's own rows
    gets a learned `bonus`. It is also stored with the value: the read gives the weight of the member's own rows. The
    gate multiplies each number of the read vector by sigmoid(Linear(x, h, weight of own rows)). Members that do not
    write still read.

    Args:
        memory: the memory whose store is shared; its fused step is not used.
        tags: number of different tags; 0: no tags.
        bonus: initial value of the learned number that is added to the similarity of a member's own rows.
        gate: whether reads are gated; the gate is initially almost open.
        writers: only the first `writers` members write; None: all.

    Raises:
        ValueError: a number out of range, or tags with similarity "l2".

    Source: Andersson 2020, "Shared memory".
    """

    def __init__(
        self,
        memory: EpisodicMemory,
        *,
        tags: int = 0,
        bonus: float = 0.0,
        gate: bool = False,
        writers: int | None = None,
    ):
        super().__init__()
        if tags < 0:
            raise ValueError(f"tags={tags}, want 0 for none, or the number of writers to distinguish")
        check_positive(writers=1 if writers is None else writers)
        if tags and memory.similarity == "l2":
            raise ValueError(f'tags={tags} with similarity="l2", want "scaled_dot", "dot" or "cosine", or tags=0')
        self.memory, self.tags, self.writers = memory, tags, writers
        self.input_size, self.output_size = memory.input_size, memory.output_size
        self.bonus = nn.Parameter(torch.tensor(float(bonus))) if tags else None
        self.gate = nn.Linear(self.input_size + self.output_size + 1, memory.value_size) if gate else None
        if self.gate is not None:
            nn.init.zeros_(self.gate.weight)
            nn.init.constant_(self.gate.bias, GATE_BIAS)

    def initial_state(self, x: Float[Tensor, "B N D"]) -> TaggedState:
        m = self.memory
        state = m.initial_state(x)
        tag = torch.arange(x.shape[1], device=x.device).expand(x.shape[:2])
        log = RowLog.empty(state.h, x.shape[:1], m.key_size + self.tags, m.value_size + self.tags, m.slots)
        gate = None if self.gate is None else torch.ones_like(state.h[..., 0])
        return TaggedState(state._replace(log=log), tag, state.h.new_zeros(*x.shape[:2], self.tags), gate)

    def forward(
        self, x: Float[Tensor, "B N D"], state: TaggedState, present: Bool[Tensor, "B N"] | None = None
    ) -> tuple[Float[Tensor, "B N Y"], TaggedState]:
        m, old = self.memory, state.memory
        query, tag = m.make_query(x, old.h), self._tag(state)
        if self.bonus is not None:
            query = torch.cat([query, self.bonus * tag], -1)
        read, positions, weights, log = old.log.read(query, m.attend)
        read, tag_weights = read.split([m.value_size, self.tags], -1)
        gate = None
        if self.gate is not None:
            own_weight = (tag_weights * tag).sum(-1, keepdim=True)  # 0 without tags
            gate = torch.sigmoid(self.gate(torch.cat([x, old.h, own_weight], -1)))
            read = gate * read
        h, controller = m.controller(torch.cat([x, read], -1), old.controller, present)
        valid = None if present is None else present[:, : self.writers]
        key, value = (torch.cat([part, tag], -1)[:, : self.writers] for part in m.make_row(x, h))
        log = log.append(key, value, valid)
        memory = EpisodicState(controller, h, log, positions, weights)
        return h, TaggedState(memory, state.tag, tag_weights, None if gate is None else gate.mean(-1))

    def _tag(self, state: TaggedState) -> Tensor:
        """One-hot tags of all members."""
        index = torch.arange(self.tags, device=state.tag.device)
        return ((state.tag % max(self.tags, 1)).unsqueeze(-1) == index).to(state.memory.h.dtype)  # (B, N, tags)

    def losses(self, state: TaggedState) -> dict[str, Float[Tensor, " B"]]:
        return self.memory.losses(state.memory)

    def metrics(self, state: TaggedState) -> dict[str, Float[Tensor, " B"]]:
        """Metrics of the memory; own_read: weight of the member's own rows in the read; read_gate: mean of the gate."""
        metrics = self.memory.metrics(state.memory)
        if self.tags:
            own, total = (state.tag_weights * self._tag(state)).sum(-1).abs(), state.tag_weights.abs().sum(-1)
            metrics["own_read"] = (own / total.clamp(min=1e-12)).mean(-1)
        if state.gate is not None:
            metrics["read_gate"] = state.gate.mean(-1)
        return metrics

    def read_weights(self, state: TaggedState) -> Float[Tensor, "B N slots"] | None:
        return self.memory.read_weights(state.memory)

    def write_weights(self, state: TaggedState) -> Float[Tensor, "B N slots"] | None:
        return self.memory.write_weights(state.memory)

    def read_write_vectors(self, state: TaggedState) -> dict[str, Float[Tensor, "B N _"]]:
        """Vectors of the last read and write; the written ones are zeros for members that do not write."""
        vectors, n = self.memory.read_write_vectors(state.memory), state.tag.shape[1]
        return {name: pad(vector, (0, 0, 0, n - vector.shape[1])) for name, vector in vectors.items()}

    def select_members(self, state: TaggedState, index: Int[Tensor, " M"], x: Float[Tensor, "B M D"]) -> TaggedState:
        """Selects members of the memory's state; new members get tags that no other member has."""
        new = (index < 0).expand(x.shape[:2])
        member_state, initial = (s._replace(memory=None) for s in (state, self.initial_state(x)))  # type: ignore[arg-type]
        selected = states.where(new, initial, states.select_members(member_state, index.clamp(min=0)))
        tag = torch.where(new, state.tag.amax(1, keepdim=True) + new.cumsum(1), selected.tag)
        return selected._replace(memory=self.memory.select_members(state.memory, index, x), tag=tag)
