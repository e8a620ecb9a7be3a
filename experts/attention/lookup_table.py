"""A look-up table that is never full, read as a whole by soft attention (SALU, Munkhdalai et al. 2019, sec. 4.1)."""

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

UNBOUNDED = sys.maxsize  # slots


class LookupState(NamedTuple):
    """read, query, write_key, write_value: of the last step; those of several heads lie side by side."""

    controller: State
    log: RowLog
    query: Float[Tensor, "B N HK"]
    read: Float[Tensor, "B N V"]
    write_key: Float[Tensor, "B N HK"]
    write_value: Float[Tensor, "B N HV"]


class LookupTable(Core):
    """A controller with a table of all that it ever wrote: the baseline "LSTM+SALU" of the neural memory.

    One step, wired as the neural memory's is: h = controller([x, read before]); from h, each by tanh(Linear(h)), come
    write key, write value and read key of every head; the rows (write key, write value) are appended; each read key is
    answered with the sum of **all** values, the new ones included, by the softmax of scale x its products with the
    keys; read is the mean over heads, and y = Linear([h, read]).

    So it is the log of `EpisodicMemory` without slots and without top_k, and it pays: a step takes time and, where
    gradients are wanted, memory in proportion to the steps before it. The members share one table. There are no second
    derivatives: create_graph=True raises RuntimeError.

    Args:
        input_size: D.
        controller: a factory int -> Core, for the controller eats [x, read].
        key_size, value_size: K, V.
        heads: rows that a step writes and questions that it asks.
        output_size: Y; None: as many as the controller puts out.
        scale: of the products; None: 1 / sqrt(K) (Vaswani et al. 2017, sec. 3.2.1). The paper names none. Keys are
            within -1 and 1, so that products go up to sqrt(K): a row may outweigh e^sqrt(K) others at right angles.

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
        self.key, self.query = key_query_layers(hidden, heads * key_size, spread=10)
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
        there = None if present is None else present.repeat_interleave(self.heads, 1)
        log = state.log.append(self._heads_to_rows(key), self._heads_to_rows(value), there)
        read, _, _, log = log.read(self._heads_to_rows(query) * self.scale, self.attend)
        told = (query, read.unflatten(1, (-1, self.heads)).mean(2), key, value)
        if present is not None:
            told = states.where(present, told, tuple(state[2:]))
        return self.out(torch.cat([h, told[1]], -1)), LookupState(controller, log, *told)

    def unroll(
        self, xs: Float[Tensor, "T B N D"], state: LookupState, reset: Bool[Tensor, "T B"] | None = None
    ) -> tuple[Float[Tensor, "T B N Y"], LookupState]:
        """As the loop of `forward`, in a table that need not move as it grows."""
        n = xs.shape[2] * self.heads
        return super().unroll(xs, state._replace(log=state.log.reserve(len(xs) * n, n)), reset)

    def _heads_to_rows(self, side_by_side: Tensor) -> Tensor:
        """The heads of a step one below the other, (B, N, H * K) -> (B, N * H, K)."""
        return side_by_side.unflatten(-1, (self.heads, side_by_side.shape[-1] // self.heads)).flatten(1, 2)

    def losses(self, state: LookupState) -> dict[str, Float[Tensor, " B"]]:
        return self.controller.losses(state.controller)

    def metrics(self, state: LookupState) -> dict[str, Float[Tensor, " B"]]:
        """Of `experts.memory_metrics`, where slots are rows of the table; read_norm; and the controller's."""
        own = store_metrics(state.log.keys(), state.log.valid(), self._weights(state))
        own["read_norm"] = torch.linalg.vector_norm(state.read.detach(), dim=-1).mean(1)
        return {**self.controller.metrics(state.controller), **own}

    def read_weights(self, state: LookupState) -> Float[Tensor, "B N slots"]:
        """Of every row in the table, mean over heads: a slot more for each row that was written."""
        return self._weights(state).unflatten(1, (-1, self.heads)).mean(2)

    def _weights(self, state: LookupState) -> Tensor:
        """How each head's last read is spread, (B, N * H, rows), said again of the query: they are not kept."""
        keys, query = state.log.keys(), self._heads_to_rows(state.query) * self.scale
        scores, found = self.attend.search(query, keys, 0, keys.shape[1], state.log.valid())
        return self.attend.weights(scores, found)

    def select_members(self, state: LookupState, index: Int[Tensor, " M"], x: Float[Tensor, "B M D"]) -> LookupState:
        """The table stays as it is; what belongs to the members is gathered."""
        inner = x.new_zeros(*x.shape[:2], self.controller.input_size)
        own, blank = (s._replace(controller=None, log=None) for s in (state, self.initial_state(x)))  # type: ignore[arg-type]
        controller = self.controller.select_members(state.controller, index, inner)
        return states.select_or_reset_members(own, blank, index)._replace(controller=controller, log=state.log)
