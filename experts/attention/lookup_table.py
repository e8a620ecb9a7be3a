"""Unbounded look-up table, read as a whole by soft attention (SALU, Munkhdalai et al. 2019, sec. 4.1)."""

import math
import sys
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from experts import state as states
from experts.core import Core, check_positive, make_controller
from experts.episodic.memory import key_query_layers, scaled_normal_
from experts.episodic.row_log import RowLog
from experts.episodic.top_k_read import ALL_ROWS, TopKAttention
from experts.memory_metrics import store_metrics
from experts.state import State

UNBOUNDED = sys.maxsize  # number of slots


class LookupState(NamedTuple):
    """State of a `LookupTable`: controller, table, and the vectors of the last step, heads concatenated."""

    controller: State
    log: RowLog
    query: Float[Tensor, "B N HK"]
    read: Float[Tensor, "B N V"]
    write_key: Float[Tensor, "B N HK"]
    write_value: Float[Tensor, "B N HV"]


class LookupTable(Core):
    """Soft-attention look-up table of all writes of an episode: the baseline "LSTM+SALU" of the neural memory.

    One step: h = controller([x, previous read]). Write key, write value and read key of each head are tanh(Linear(h)).
    The rows (write key, write value) are appended. Each read key retrieves the sum of **all** values, including the new
    ones, weighted by the softmax of scale times its products with the keys. The read vector is the mean over heads, and
    y = Linear([h, read]).

    This is the log of `EpisodicMemory` without slots and top_k: time and, with gradients, memory of a step grow
    linearly with the number of previous steps. The members share one table. There are no second derivatives:
    create_graph=True raises RuntimeError.

    Args:
        input_size: D.
        controller: a factory int -> Core; the controller's input is [x, read].
        key_size, value_size: K, V.
        heads: rows written and queries of a step.
        output_size: Y; None: that of the controller.
        scale: factor of the scores; None: 1 / sqrt(K) (Vaswani et al. 2017, sec. 3.2.1). The paper specifies none. Keys
            are within -1 and 1, so scaled scores are at most sqrt(K).

    Raises:
        ValueError: a size below 1, a scale that is not above 0, or a controller whose sizes do not fit.
    """

    def __init__(
        self,
        input_size: int,
        controller: Callable[[int], Core],
        *,
        key_size: int,
        value_size: int,
        heads: int = 1,
        output_size: int | None = None,
        scale: float | None = None,
    ):
        super().__init__()
        check_positive(key_size=key_size, value_size=value_size, heads=heads)
        check_positive(output_size=1 if output_size is None else output_size)
        if scale is not None and not 0 < scale < math.inf:
            raise ValueError(f"scale={scale}, want a number above 0, or None for 1 / sqrt(key_size)")
        self.controller = make_controller(controller, input_size, value_size)
        hidden = self.controller.output_size
        self.input_size, self.output_size = input_size, hidden if output_size is None else output_size
        self.key_size, self.value_size, self.heads = key_size, value_size, heads
        self.scale = key_size**-0.5 if scale is None else scale
        self.key, self.query = key_query_layers(hidden, heads * key_size, gain=10)
        self.value = nn.Linear(hidden, heads * value_size)
        scaled_normal_(self.value, gain=10)
        self.out = nn.Linear(hidden + value_size, self.output_size)
        self.attend = TopKAttention(ALL_ROWS, False, "softmax")

    def initial_state(self, x: Float[Tensor, "B N D"]) -> LookupState:
        batch, n, _ = x.shape
        like = x.new_zeros(()) + self.key.weight.new_zeros(())  # batched wherever x or the weights are (vmap)
        keys, values = self.heads * self.key_size, self.heads * self.value_size
        return LookupState(
            self.controller.initial_state(like.new_zeros(batch, n, self.controller.input_size)),
            RowLog.empty(like, (batch,), self.key_size, self.value_size, UNBOUNDED),
            *(like.new_zeros(batch, n, size) for size in (keys, self.value_size, keys, values)),
        )

    def forward(
        self, x: Float[Tensor, "B N D"], state: LookupState, present: Bool[Tensor, "B N"] | None = None
    ) -> tuple[Float[Tensor, "B N Y"], LookupState]:
        h, controller = self.controller(torch.cat([x, state.read], -1), state.controller, present)
        query, key, value = (torch.tanh(linear(h)) for linear in (self.query, self.key, self.value))
        valid = None if present is None else present.repeat_interleave(self.heads, 1)
        log = state.log.append(self._heads_to_rows(key), self._heads_to_rows(value), valid)
        read, _, _, log = log.read(self._heads_to_rows(query) * self.scale, self.attend)
        vectors = (query, read.unflatten(1, (-1, self.heads)).mean(2), key, value)
        if present is not None:
            vectors = states.where(present, vectors, tuple(state[2:]))
        return self.out(torch.cat([h, vectors[1]], -1)), LookupState(controller, log, *vectors)

    def unroll(
        self, xs: Float[Tensor, "T B N D"], state: LookupState, reset: Bool[Tensor, "T B"] | None = None
    ) -> tuple[Float[Tensor, "T B N Y"], LookupState]:
        """As the loop of `forward`, with storage allocated in advance."""
        n = xs.shape[2] * self.heads
        return super().unroll(xs, state._replace(log=state.log.reserve(len(xs) * n, n)), reset)

    def _heads_to_rows(self, x: Tensor) -> Tensor:
        """Concatenated heads as rows: (B, N, H * K) -> (B, N * H, K)."""
        return x.unflatten(-1, (self.heads, x.shape[-1] // self.heads)).flatten(1, 2)

    def losses(self, state: LookupState) -> dict[str, Float[Tensor, " B"]]:
        return self.controller.losses(state.controller)

    def metrics(self, state: LookupState) -> dict[str, Float[Tensor, " B"]]:
        """Metrics of `experts.memory_metrics` (slots are rows of the table), read_norm, and the controller's."""
        metrics = store_metrics(state.log.keys(), state.log.valid(), self._weights(state))
        metrics["read_norm"] = torch.linalg.vector_norm(state.read.detach(), dim=-1).mean(1)
        return {**self.controller.metrics(state.controller), **metrics}

    def read_weights(self, state: LookupState) -> Float[Tensor, "B N slots"]:
        """Weights of all rows of the table, mean over heads; each written row is a slot."""
        return self._weights(state).unflatten(1, (-1, self.heads)).mean(2)

    def _weights(self, state: LookupState) -> Tensor:
        """Weights of each head's last read, (B, N * H, rows), computed again from the query, as they are not stored."""
        keys, query = state.log.keys(), self._heads_to_rows(state.query) * self.scale
        scores, rows = self.attend.search(query, keys, 0, keys.shape[1], state.log.valid())
        return self.attend.weights(scores, rows)

    def select_members(self, state: LookupState, index: Int[Tensor, " M"], x: Float[Tensor, "B M D"]) -> LookupState:
        """Selects the state of members; the table, which they share, is unchanged."""
        controller_input = x.new_zeros(*x.shape[:2], self.controller.input_size)
        member_state, initial = (s._replace(controller=None, log=None) for s in (state, self.initial_state(x)))  # type: ignore[arg-type]
        controller = self.controller.select_members(state.controller, index, controller_input)
        return states.select_or_reset_members(member_state, initial, index)._replace(
            controller=controller, log=state.log
        )
