"""Soft attention over a sliding window of the last inputs (memory Q-network, Oh et al. 2016)."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from experts import state as states
from experts.attention import sliding_window as band
from experts.core import Core, check_positive, make_controller
from experts.state import State


class WindowState(NamedTuple):
    """State of a `Window`.

    Args:
        controller: state of the controller.
        rows: the last inputs, newest last.
        written: number of rows written.
        read: read vectors of the last step, heads concatenated.
        weights: attention weights of the last step, over the rows and, last, the present input.
    """

    controller: State
    rows: Float[Tensor, "B N M D"]
    written: Int[Tensor, "B N"]
    read: Float[Tensor, "B N HV"]
    weights: Float[Tensor, "B N slots"]


class WindowCore(Core):
    """Base of cores that attend to a window of inputs, beside a controller.

    A subclass sets the attributes, and its states have the fields of a `WindowState`.
    """

    controller: Core
    slots: int
    key: nn.Linear
    value: nn.Linear

    @abstractmethod
    def _attend(self, xs: Tensor, hs: Tensor, state: Any, reset: Tensor | None = None) -> tuple[Tensor, Any]:
        """Read vectors of T steps, (T, B, N, V), and the new state without the controller's."""

    def _attend_in_chunks(self, xs: Tensor, hs: Tensor, state: Any, reset: Tensor | None) -> tuple[Tensor, Any]:
        """As `_attend`, for any number of steps: in parts whose scores fit into memory."""
        reads, size = [], band.chunk_size(self.slots)
        for start in range(0, len(xs), size):
            part = slice(start, start + size)
            read, state = self._attend(xs[part], hs[part], state, None if reset is None else reset[part])
            reads.append(read)
        return torch.cat(reads), state

    def losses(self, state: Any) -> dict[str, Float[Tensor, " B"]]:
        return self.controller.losses(state.controller)

    def metrics(self, state: Any) -> dict[str, Float[Tensor, " B"]]:
        """Metrics of `experts.memory_metrics` for the keys of the window, and the controller's metrics."""
        metrics = band.window_metrics(self.key(state.rows), state.written, state.weights)
        return {**self.controller.metrics(state.controller), **metrics}

    def read_write_vectors(self, state: Any) -> dict[str, Float[Tensor, "B N _"]]:
        """Reads and writes of the last step; the key and the value of the present input are written."""
        newest = state.rows[..., -1, :]
        return {"read": state.read, "write_key": self.key(newest), "write_value": self.value(newest)}


class Window(WindowCore):
    """Sliding-window memory: a controller with soft attention over its last `slots` inputs and the present one.

    One step: h = controller(x); keys and values are linear in the inputs of the window, the query is linear in h. For
    each head, read is the sum of values weighted by the softmax of query . (key + age embedding) / sqrt(K), and
    y = Linear([h, read]). The memory Q-networks of Oh et al. 2016 are of this kind (`MQN` is the published form).
    Unlike there, each age has a learned embedding (Shaw et al. 2018), initially zero, so that a query can select one.

    Each member has a window of its own. The window holds inputs, not keys, so keys always use the current weights.

    Args:
        input_size: D.
        controller: a factory int -> Core; its input is x alone, without the read vector.
        slots: M, inputs before the present one.
        key_size, value_size: K, V of each head.
        heads: queries of a step.
        output_size: Y; None: that of the controller.

    Raises:
        ValueError: a size below 1, or a controller whose sizes do not fit.
    """

    def __init__(
        self,
        input_size: int,
        controller: Callable[[int], Core],
        *,
        slots: int,
        key_size: int = 16,
        value_size: int = 16,
        heads: int = 1,
        output_size: int | None = None,
    ):
        super().__init__()
        check_positive(slots=slots, key_size=key_size, value_size=value_size, heads=heads)
        check_positive(output_size=1 if output_size is None else output_size)
        self.controller = make_controller(controller, input_size, 0)
        hidden = self.controller.output_size
        self.input_size, self.output_size = input_size, hidden if output_size is None else output_size
        self.slots, self.heads, self.scale = slots, heads, key_size**-0.5
        self.query = nn.Linear(hidden, heads * key_size)
        self.key = nn.Linear(input_size, heads * key_size)
        self.value = nn.Linear(input_size, heads * value_size)
        self.age_embedding = nn.Parameter(torch.zeros(heads, slots + 1, key_size))  # oldest age first
        self.out = nn.Linear(hidden + heads * value_size, self.output_size)

    def initial_state(self, x: Float[Tensor, "B N D"]) -> WindowState:
        lead = x.shape[:2]
        return WindowState(
            self.controller.initial_state(x),
            x.new_zeros(*lead, self.slots, self.input_size),
            x.new_zeros(lead, dtype=torch.long),
            x.new_zeros(*lead, self.value.out_features),
            x.new_zeros(*lead, self.slots + 1),
        )

    def forward(
        self, x: Float[Tensor, "B N D"], state: WindowState, present: Bool[Tensor, "B N"] | None = None
    ) -> tuple[Float[Tensor, "B N Y"], WindowState]:
        h, controller = self.controller(x, state.controller, present)
        read, new = self._attend(x.unsqueeze(0), h.unsqueeze(0), state)
        if present is not None:
            new = states.where(present, new, state._replace(controller=None))
            read = new.read.unsqueeze(0)
        return self.out(torch.cat([h, read[0]], -1)), new._replace(controller=controller)

    def unroll(
        self, xs: Float[Tensor, "T B N D"], state: WindowState, reset: Bool[Tensor, "T B"] | None = None
    ) -> tuple[Float[Tensor, "T B N Y"], WindowState]:
        """As the loop of `forward`: the controller takes all steps, then each looks back, many at once."""
        hs, controller = self.controller.unroll(xs, state.controller, reset)
        reads, state = self._attend_in_chunks(xs, hs, state, reset)
        return self.out(torch.cat([hs, reads], -1)), state._replace(controller=controller)

    def _attend(
        self, xs: Tensor, hs: Tensor, state: WindowState, reset: Tensor | None = None
    ) -> tuple[Tensor, WindowState]:
        """Read vectors of T steps, (T, B, N, H V), and the new state without the controller's."""
        steps = xs.movedim(0, 2)  # (B, N, T, D)
        visible, count = band.window_mask(state.written, len(xs), self.slots, reset)
        inputs = torch.cat([state.rows, steps], -2)
        query = band.split_heads(self.query(hs.movedim(0, 2)) * self.scale, self.heads)
        keys, values = band.split_heads(self.key(inputs), self.heads), band.split_heads(self.value(inputs), self.heads)
        read, weights = band.attend(query, keys, values, query, self.age_embedding, visible)
        reads = band.merge_heads(read)  # (B, N, T, H V)
        rows = band.update_window(state.rows, steps, count, reset)
        new = WindowState(None, rows, count, reads[:, :, -1], band.last_weights(weights, self.slots))
        return reads.movedim(2, 0), new

    def read_weights(self, state: WindowState) -> Float[Tensor, "B N slots"]:
        """Attention weights, mean over heads, newest last; the last one is that of the present input."""
        return state.weights

    def select_members(self, state: WindowState, index: Int[Tensor, " M"], x: Float[Tensor, "B M D"]) -> WindowState:
        """Selects members of the windows and of the controller's state; -1 gives an initial one."""
        member_state, initial = (s._replace(controller=None) for s in (state, self.initial_state(x)))
        controller = self.controller.select_members(state.controller, index, x)
        return states.select_or_reset_members(member_state, initial, index)._replace(controller=controller)
