"""Episodic memory with online clustering: a new row is merged into the slot with the most similar key."""

from collections.abc import Callable
from functools import partial, reduce
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, normalize

from experts import state as states
from experts.core import Core, check_positive, make_controller
from experts.episodic.memory import (
    RowContent,
    Similarity,
    Weighting,
    check_read_options,
    content_size,
    key_query_layers,
)
from experts.episodic.top_k_read import TopKAttention
from experts.memory_metrics import store_metrics
from experts.state import State


class Clusters(NamedTuple):
    """Slots of a clustered memory, each the mean of similar rows.

    Args:
        keys: mean key of each slot.
        values: mean value of each slot.
        counts: number of rows of each slot; 0 for a free slot.
        last_written: number of the last row that was written to each slot, -1 for none.
        merged: number of rows that were merged into an occupied slot.
    """

    keys: Float[Tensor, "B S K"]
    values: Float[Tensor, "B S V"]
    counts: Float[Tensor, "B S"]
    last_written: Int[Tensor, "B S"]
    merged: Float[Tensor, " B"]


class ClusteredState(NamedTuple):
    """State of a `ClusteredMemory`: the store, and the controller and the last read of each member."""

    controller: State
    h: Float[Tensor, "B N H"]
    store: Clusters
    positions: Int[Tensor, "B N k"]  # slots of the last read, -1 for none
    weights: Float[Tensor, "B N k"]


class ClusteredMemory(Core):
    """Episodic memory with online clustering of rows: similar rows share a slot, which holds their mean.

    A new row is merged into the slot with the most similar key if the cosine similarity of the keys exceeds the
    threshold: key and value become the mean of all rows of the slot, as in k-means with a variable number of clusters.
    Else the row takes a free slot, else the least recently written one.

    The least recently written slot is replaced, not the one with the lowest count: a new slot has count 1, so in a full
    store each new row would replace the previous new row, and frequent old slots would never be replaced. A memory that
    never merges (threshold=2) is therefore the circular buffer of `EpisodicMemory`.

    A slot's weight in a read is multiplied by its count; for a softmax that adds log(count) to its score. If merged
    rows were equal, reading all slots equals reading all rows.

    A step reads, steps the controller on [x, m], and writes. Members of a shared store write one after the other, so
    that their similar rows can be merged. They therefore do not permute exactly, and the cost of a step grows with
    their number. Rows change, so the append-only log of `EpisodicMemory` cannot be used: the store is copied at each
    step, and an episode with gradients takes memory for steps x slots rows.

    Args:
        input_size, controller, top_k, key_size, key_input_scale, similarity, weighting, row_content, detach_rows: of
            `EpisodicMemory`.
        slots: maximal number of clusters.
        threshold: cosine similarity of keys above which rows are merged; above 1, no rows are merged.

    Raises:
        ValueError: an option out of range, or a controller whose sizes do not fit.
    """

    def __init__(
        self,
        input_size: int,
        controller: Callable[[int], Core],
        *,
        slots: int = 64,
        top_k: int = 8,
        key_size: int = 16,
        key_input_scale: float = 1.0,
        threshold: float = 0.99,
        similarity: Similarity = "scaled_dot",
        weighting: Weighting = "softmax",
        row_content: RowContent = "both",
        detach_rows: bool = False,
    ):
        super().__init__()
        check_positive(slots=slots, top_k=top_k, key_size=key_size)
        check_read_options(similarity, weighting, row_content, key_input_scale)
        if threshold <= -1:
            raise ValueError(f"threshold={threshold}, want a cosine above -1; above 1 nothing is merged")
        self.controller = make_controller(controller, input_size, partial(content_size, input_size, row_content))
        self.input_size, self.output_size = input_size, self.controller.output_size
        hidden, value_size = self.output_size, content_size(input_size, row_content, self.output_size)
        self.key, self.query = key_query_layers(hidden, key_size, inputs=input_size, input_scale=key_input_scale)
        self.sharpness = nn.Parameter(torch.tensor(10.0)) if similarity == "cosine" else None
        self.slots, self.threshold, self.similarity, self.row_content = slots, threshold, similarity, row_content
        self.detach_rows, self.key_size, self.value_size = detach_rows, key_size, value_size
        self.attend = TopKAttention(min(top_k, slots), similarity == "l2", weighting)

    def initial_state(self, x: Float[Tensor, "B N D"]) -> ClusteredState:
        batch, n, _ = x.shape
        k = self.attend.top_k
        return ClusteredState(
            self.controller.initial_state(x.new_zeros(batch, n, self.controller.input_size)),
            x.new_zeros(batch, n, self.output_size),
            Clusters(
                x.new_zeros(batch, self.slots, self.key_size),
                x.new_zeros(batch, self.slots, self.value_size),
                x.new_zeros(batch, self.slots),
                x.new_full((batch, self.slots), -1, dtype=torch.long),
                x.new_zeros(batch),
            ),
            x.new_full((batch, n, k), -1, dtype=torch.long),
            x.new_zeros(batch, n, k),
        )

    def forward(
        self, x: Float[Tensor, "B N D"], state: ClusteredState, present: Bool[Tensor, "B N"] | None = None
    ) -> tuple[Float[Tensor, "B N Y"], ClusteredState]:
        m, positions, weights = self._read(self.query(torch.cat([x, state.h], -1)), state.store)
        h, controller = self.controller(torch.cat([x, m], -1), state.controller, present)
        present = torch.ones_like(x[..., 0], dtype=torch.bool) if present is None else present
        rows = zip(*(part.unbind(1) for part in (*self._row(x, h), present)), strict=True)
        store = reduce(self._merge_or_insert, rows, state.store)
        return h, ClusteredState(controller, h, store, positions, weights)

    def _row(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        both = torch.cat([x, h], -1)
        value = {"x": x, "h": h, "both": both}[self.row_content]
        if self.detach_rows:
            both, value = both.detach(), value.detach()
        return self.key(both), value

    def _read(self, query: Tensor, store: Clusters) -> tuple[Tensor, Tensor, Tensor]:
        """Read of query (B, N, K): values (B, N, V), slots and weights (B, N, k)."""
        keys = store.keys
        if self.sharpness is not None:  # means of unit vectors have a norm below 1
            query, keys = normalize(query, dim=-1) * self.sharpness, normalize(keys, dim=-1)
        elif self.similarity == "scaled_dot":
            query = query * self.key_size**-0.5
        scores, rows = self.attend.search(query, keys, 0, self.slots, store.counts > 0)
        counts = store.counts.unsqueeze(1).expand(-1, query.shape[1], -1).gather(-1, rows.safe_index)
        weights = self.attend.weights(scores, rows) * counts
        if self.attend.weighting != "similarity":
            total = weights.sum(-1, keepdim=True)
            weights = weights / torch.where(total > 0, total, 1)
        return rows.weighted_sum(store.values, weights), rows.index, weights

    def _merge_or_insert(self, store: Clusters, row: tuple[Tensor, Tensor, Tensor]) -> Clusters:
        """The store after one row of each episode; row: key (B, K), value (B, V), and whether it is present (B,)."""
        key, value, present = row
        similarity = cosine_similarity(store.keys.detach(), key.detach().unsqueeze(1), dim=-1)  # (B, S)
        highest, slot = similarity.masked_fill(store.counts == 0, -2).max(-1)
        merges = highest > self.threshold
        slot = torch.where(merges, slot, store.last_written.argmin(-1))  # free slots, with -1, come first
        chosen = (slot.unsqueeze(-1) == torch.arange(self.slots, device=slot.device)) & present.unsqueeze(-1)  # (B, S)
        counts = torch.where(chosen & ~merges.unsqueeze(-1), 0, store.counts)  # a replaced slot is reset
        weight = (chosen / (counts + 1)).unsqueeze(-1)  # (B, S, 1): of the new row in each slot
        return Clusters(
            torch.addcmul(store.keys * (1 - weight), weight, key.unsqueeze(1)),
            torch.addcmul(store.values * (1 - weight), weight, value.unsqueeze(1)),
            counts + chosen,
            torch.where(chosen, store.last_written.amax(1, keepdim=True) + 1, store.last_written),
            store.merged + (merges & present),
        )

    def losses(self, state: ClusteredState) -> dict[str, Float[Tensor, " B"]]:
        return self.controller.losses(state.controller)

    def metrics(self, state: ClusteredState) -> dict[str, Float[Tensor, " B"]]:
        """Metrics of `experts.memory_metrics` and of the controller; merge_rate: fraction of rows that were merged."""
        store = state.store
        rows = (store.last_written.amax(1) + 1).clamp(min=1)
        memory_metrics = store_metrics(store.keys, store.counts, state.weights)
        return {**memory_metrics, "merge_rate": store.merged / rows, **self.controller.metrics(state.controller)}

    def read_weights(self, state: ClusteredState) -> Float[Tensor, "B N slots"]:
        zeros = state.weights.new_zeros(*state.weights.shape[:2], self.slots)
        return zeros.scatter_add(-1, state.positions.clamp(min=0), state.weights)

    def select_members(
        self, state: ClusteredState, index: Int[Tensor, " M"], x: Float[Tensor, "B M D"]
    ) -> ClusteredState:
        """Selects the state of members; the store, which they share, is unchanged."""
        controller_input = x.new_zeros(*x.shape[:2], self.controller.input_size)
        member_state, initial = (s._replace(controller=None, store=None) for s in (state, self.initial_state(x)))  # type: ignore[arg-type]
        controller = self.controller.select_members(state.controller, index, controller_input)
        return states.select_or_reset_members(member_state, initial, index)._replace(
            controller=controller, store=state.store
        )
