"""Episodic memory whose slots hold different things: similar rows are merged while they come (online clustering)."""

from collections.abc import Callable
from functools import partial, reduce
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, normalize

from experts import state as states
from experts.core import Core, check_positive, make_controller
from experts.episodic.memory import RowContent, Similarity, Weighting, check_read_options, held, key_query_layers
from experts.episodic.top_k_read import TopKAttention
from experts.memory_metrics import store_metrics
from experts.state import State


class Clusters(NamedTuple):
    """Slots, each the mean of rows that were alike. counts: of how many rows; 0: a free slot. last_written: the number of
    the last row that went into a slot, -1 for none. merged: rows that did not take a slot of their own."""

    keys: Float[Tensor, "B S K"]
    values: Float[Tensor, "B S V"]
    counts: Float[Tensor, "B S"]
    last_written: Int[Tensor, "B S"]
    merged: Float[Tensor, " B"]


class ClusteredState(NamedTuple):
    controller: State
    h: Float[Tensor, "B N H"]
    store: Clusters
    positions: Int[Tensor, "B N k"]  # slots of the last read, -1 for none
    weights: Float[Tensor, "B N k"]


class ClusteredMemory(Core):
    """An `EpisodicMemory` that merges a new row into the slot whose key is most similar, if their cosine is above the
    threshold: key and value become the mean of all rows that the slot stands for, a k-means with as many clusters as
    there is need of. Else the row takes a free slot, else that which was written to longest ago.

    Longest ago, and not the least counted: a slot's count is 1 when it is new, so that in a full store each new thing
    would push out the new thing before it, and what was frequent long ago would never leave. And so a memory that never
    merges (threshold=2) is the circular buffer of `EpisodicMemory`.

    A slot's weight in a read is multiplied by its count; for a softmax that is + log(count) in its exponent. So if
    what was merged was equal, reading all slots is reading all the rows.

    A step reads, steps the controller on [x, m], and writes. Members of a shared store write one after the other, for
    mostly they see the same and their rows must meet; so they do not permute exactly, and a step costs more the
    more they are. Rows change, so the log that `EpisodicMemory` appends to is no use here: the store is copied at each
    step, and an episode with gradients takes room for steps x slots rows. With few slots, for that is the aim.

    Args:
        input_size, controller, top_k, key_size, key_input_scale, similarity, weighting, row_content, detach_rows: of
            `EpisodicMemory`.
        slots: things that a store holds.
        threshold: of the cosine of two keys, above which their rows are merged; above 1, none are.

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
        self.controller = make_controller(controller, input_size, partial(held, input_size, row_content))
        self.input_size, self.output_size = input_size, self.controller.output_size
        hidden, value_size = self.output_size, held(input_size, row_content, self.output_size)
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
        there = torch.ones_like(x[..., 0], dtype=torch.bool) if present is None else present
        rows = zip(*(part.unbind(1) for part in (*self._row(x, h), there)), strict=True)
        store = reduce(self._merge_or_insert, rows, state.store)
        return h, ClusteredState(controller, h, store, positions, weights)

    def _row(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        seen = torch.cat([x, h], -1)
        held = {"x": x, "h": h, "both": seen}[self.row_content]
        if self.detach_rows:
            seen, held = seen.detach(), held.detach()
        return self.key(seen), held

    def _read(self, query: Tensor, store: Clusters) -> tuple[Tensor, Tensor, Tensor]:
        """query (B, N, K) -> values (B, N, V), slots and weights (B, N, k)."""
        keys = store.keys
        if self.sharpness is not None:  # means of keys of length 1 are shorter
            query, keys = normalize(query, dim=-1) * self.sharpness, normalize(keys, dim=-1)
        elif self.similarity == "scaled_dot":
            query = query * self.key_size**-0.5
        scores, found = self.attend.search(query, keys, 0, self.slots, store.counts > 0)
        counts = store.counts.unsqueeze(1).expand(-1, query.shape[1], -1).gather(-1, found.safe_index)
        weights = self.attend.weights(scores, found) * counts
        if self.attend.weighting != "similarity":
            total = weights.sum(-1, keepdim=True)
            weights = weights / torch.where(total > 0, total, 1)
        return found.weighted_sum(store.values, weights), found.index, weights

    def _merge_or_insert(self, store: Clusters, row: tuple[Tensor, Tensor, Tensor]) -> Clusters:
        """The store with a row more for each episode; row: (B, K), (B, V), and (B,): whether there is one."""
        key, value, there = row
        alike = cosine_similarity(store.keys.detach(), key.detach().unsqueeze(1), dim=-1)  # (B, S)
        nearest, at = alike.masked_fill(store.counts == 0, -2).max(-1)
        merges = nearest > self.threshold
        at = torch.where(merges, at, store.last_written.argmin(-1))  # -1 is a free slot: it comes first
        chosen = (at.unsqueeze(-1) == torch.arange(self.slots, device=at.device)) & there.unsqueeze(-1)  # (B, S)
        counts = torch.where(chosen & ~merges.unsqueeze(-1), 0, store.counts)  # what another row takes begins anew
        share = (chosen / (counts + 1)).unsqueeze(-1)  # (B, S, 1): of the new row in each slot
        return Clusters(
            torch.addcmul(store.keys * (1 - share), share, key.unsqueeze(1)),
            torch.addcmul(store.values * (1 - share), share, value.unsqueeze(1)),
            counts + chosen,
            torch.where(chosen, store.last_written.amax(1, keepdim=True) + 1, store.last_written),
            store.merged + (merges & there),
        )

    def losses(self, state: ClusteredState) -> dict[str, Float[Tensor, " B"]]:
        return self.controller.losses(state.controller)

    def metrics(self, state: ClusteredState) -> dict[str, Float[Tensor, " B"]]:
        """Of `experts.memory_metrics`, the controller's, and merges: share of the rows written that were merged."""
        store = state.store
        rows = (store.last_written.amax(1) + 1).clamp(min=1)
        own = store_metrics(store.keys, store.counts, state.weights)
        return {**own, "merges": store.merged / rows, **self.controller.metrics(state.controller)}

    def read_weights(self, state: ClusteredState) -> Float[Tensor, "B N slots"]:
        spread = state.weights.new_zeros(*state.weights.shape[:2], self.slots)
        return spread.scatter_add(-1, state.positions.clamp(min=0), state.weights)

    def select_members(
        self, state: ClusteredState, index: Int[Tensor, " M"], x: Float[Tensor, "B M D"]
    ) -> ClusteredState:
        """The store stays as it is; what belongs to the members is gathered."""
        inner = x.new_zeros(*x.shape[:2], self.controller.input_size)
        own, blank = (s._replace(controller=None, store=None) for s in (state, self.initial_state(x)))  # type: ignore[arg-type]
        controller = self.controller.select_members(state.controller, index, inner)
        return states.select_or_reset_members(own, blank, index)._replace(controller=controller, store=state.store)
