"""A store for all members in which they find their way: whose a row is, how much of what is read counts, who writes."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import pad

from experts import state as states
from experts.core import Core, check_positive
from experts.episodic.memory import EpisodicMemory, EpisodicState
from experts.episodic.row_log import RowLog

GATE_BIAS = 3.0  # bias of the gate at first: 0.95 of what was read passes


class TaggedState(NamedTuple):
    memory: EpisodicState
    tag: Int[Tensor, "B N"]
    tag_weights: Float[Tensor, "B N tags"]  # how much of the last read each tag has written
    gate: Float[Tensor, "B N"] | None  # mean over what was read


class TaggedMemory(Core):
    """A memory of many members (Andersson 2020, "Shared memory") with tags, a gate for what is read, or fewer writers.

    Tags are a relation, not a name: all that a reader is told is which rows are its own. Member i's tag is 1 at place
    i mod `tags` and 0 elsewhere; it is stored beside the key, where a learned `bonus` of the similarity of one's own
    rows multiplies it, and beside the value, so that the read tells how much of it is one's own. So members still
    permute. The gate multiplies what was read by sigmoid(Linear(x, h, own share)), a number each. Members that do
    not write read all the same.

    Args:
        memory: whose store is shared; it is stepped around its log, not as one function.
        tags: how many writers can be told apart; 0: none.
        bonus: added to the similarity of one's own rows, at first; learned.
        gate: whether there is one; it begins almost open.
        writers: the first so many members write; None: all.

    Raises:
        ValueError: a number out of range, or tags where similarity is no product.
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
            raise ValueError(f"tags={tags}, want 0 for none, or as many as there are writers to be told apart")
        check_positive(writers=1 if writers is None else writers)
        if tags and memory.similarity == "l2":
            raise ValueError('tags want a similarity that is a product, got "l2"; take "scaled_dot", "dot" or "cosine"')
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
        read, whose = read.split([m.value_size, self.tags], -1)
        gate = None
        if self.gate is not None:
            own = (whose * tag).sum(-1, keepdim=True)  # 0 without tags
            gate = torch.sigmoid(self.gate(torch.cat([x, old.h, own], -1)))
            read = gate * read
        h, controller = m.controller(torch.cat([x, read], -1), old.controller, present)
        there = None if present is None else present[:, : self.writers]
        key, value = (torch.cat([part, tag], -1)[:, : self.writers] for part in m.make_row(x, h))
        log = log.append(key, value, there)
        memory = EpisodicState(controller, h, log, positions, weights)
        return h, TaggedState(memory, state.tag, whose, None if gate is None else gate.mean(-1))

    def _tag(self, state: TaggedState) -> Tensor:
        places = torch.arange(self.tags, device=state.tag.device)
        return ((state.tag % max(self.tags, 1)).unsqueeze(-1) == places).to(state.memory.h.dtype)  # (B, N, tags)

    def losses(self, state: TaggedState) -> dict[str, Float[Tensor, " B"]]:
        return self.memory.losses(state.memory)

    def metrics(self, state: TaggedState) -> dict[str, Float[Tensor, " B"]]:
        """As the memory's; own_share: of what was read, by its tag; gate: its mean."""
        told = self.memory.metrics(state.memory)
        if self.tags:
            own, all_ = (state.tag_weights * self._tag(state)).sum(-1).abs(), state.tag_weights.abs().sum(-1)
            told["own_share"] = (own / all_.clamp(min=1e-12)).mean(-1)
        if state.gate is not None:
            told["gate"] = state.gate.mean(-1)
        return told

    def read_weights(self, state: TaggedState) -> Float[Tensor, "B N slots"] | None:
        return self.memory.read_weights(state.memory)

    def read_write_vectors(self, state: TaggedState) -> dict[str, Float[Tensor, "B N _"]]:
        """Who does not write has written zeros."""
        told, n = self.memory.read_write_vectors(state.memory), state.tag.shape[1]
        return {name: pad(trace, (0, 0, 0, n - trace.shape[1])) for name, trace in told.items()}

    def select_members(self, state: TaggedState, index: Int[Tensor, " M"], x: Float[Tensor, "B M D"]) -> TaggedState:
        """As the memory's; fresh members get tags that none of them has."""
        new = (index < 0).expand(x.shape[:2])
        own, blank = (s._replace(memory=None) for s in (state, self.initial_state(x)))  # type: ignore[arg-type]
        kept = states.where(new, blank, states.select_members(own, index.clamp(min=0)))
        tag = torch.where(new, state.tag.amax(1, keepdim=True) + new.cumsum(1), kept.tag)
        return kept._replace(memory=self.memory.select_members(state.memory, index, x), tag=tag)
