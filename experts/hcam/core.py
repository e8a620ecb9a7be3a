"""Hierarchical chunk attention memory, HCAM (Lampinen et al. 2021)."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import layer_norm

from experts import state as states
from experts.attention import sliding_window as band
from experts.core import Core, check_positive, make_controller
from experts.hcam.attention import ChunkAttention, unbiased_linear
from experts.hcam.chunks import chunk_numbers, split_chunks, step_numbers
from experts.memory_metrics import store_metrics
from experts.state import State


class HCAMState(NamedTuple):
    """State of an `HCAM`; its memory has room for M = S C + C - 1 steps, the newest last.

    Args:
        controller: state of the controller.
        rows: contents of the last steps.
        written: number of steps of the episode.
        read: values that the last step read, heads concatenated.
        weights: weights of the last read over the steps of the chunks, mean over heads.
    """

    controller: State
    rows: Float[Tensor, "B N M W"]
    written: Int[Tensor, "B N"]
    read: Float[Tensor, "B N HV"]
    weights: Float[Tensor, "B N slots"]


class HCAM(Core):
    """Hierarchical chunk attention memory (HCAM) beside a controller: chooses chunks of the past, then steps in them.

    A step computes h = controller(x) and its content c = norm([x, h]), with mean 0 and variance 1. Every C contents of
    an episode are a chunk, which later steps may read; the newest S chunks are kept. The key of a chunk is the mean of
    its contents. A read attends to the keys of all chunks, and takes the K most relevant ones,

        relevance = softmax of the K largest of (W_q c) . (W_k key) / sqrt(key_size)

    and then, in each of these, to its steps: attention of several heads, whose keys and values are linear in the
    contents plus sines of the places, of which that of a chunk's newest step is 0. The results are weighted by
    relevance and added, and y = h + W_o (their sum). An episode of fewer than K chunks is read as a whole; chunks that
    are not written have no weight, and while there is none, y = h.

    No gradient enters the contents of the past: it trains the maps of keys and values, but not what the controller was
    like when it wrote. So the controller learns from its own output alone, and no step has to be differentiated through
    to what it reads, however long ago that was.

    `unroll` computes the controller for all steps, and then some steps' reads at a time. The time of a step grows with
    the S C contents that are kept. Each member has a memory of its own.

    Args:
        input_size: D.
        controller: a factory int -> Core; its input is x alone, and its output size that of this core.
        slots: S, chunks that are kept.
        chunk_size: C, steps of a chunk.
        top_k: K, chunks that are read.
        heads: of the attention within a chunk.
        key_size: numbers of a key, of chunks and of each head.
        value_size: numbers of a value of each head.

    Raises:
        ValueError: a size below 1, or a controller whose sizes do not fit.

    Source: Lampinen et al. 2021 (arXiv:2105.14039), section 3, where the memory is in each layer of a transformer.
    """

    def __init__(
        self,
        input_size: int,
        controller: Callable[[int], Core],
        *,
        slots: int = 32,
        chunk_size: int = 32,
        top_k: int = 8,
        heads: int = 1,
        key_size: int = 32,
        value_size: int = 32,
    ):
        super().__init__()
        check_positive(slots=slots, chunk_size=chunk_size, top_k=top_k, heads=heads)
        check_positive(key_size=key_size, value_size=value_size)
        self.controller = make_controller(controller, input_size, 0)
        self.input_size, self.output_size = input_size, self.controller.output_size
        self.slots, self.chunk_size = slots, chunk_size
        self.width = input_size + self.output_size
        self.attention = ChunkAttention(self.width, chunk_size, top_k, heads, key_size, value_size)
        self.out = unbiased_linear(heads * value_size, self.output_size)

    @property
    def rows(self) -> int:
        """M, the number of contents that are kept."""
        return (self.slots + 1) * self.chunk_size - 1

    def initial_state(self, x: Float[Tensor, "B N D"]) -> HCAMState:
        lead = x.shape[:2]
        return HCAMState(
            self.controller.initial_state(x),
            x.new_zeros(*lead, self.rows, self.width),
            x.new_zeros(lead, dtype=torch.long),
            x.new_zeros(*lead, self.attention.value.out_features),
            x.new_zeros(*lead, self.slots * self.chunk_size),
        )

    def forward(
        self, x: Float[Tensor, "B N D"], state: HCAMState, present: Bool[Tensor, "B N"] | None = None
    ) -> tuple[Float[Tensor, "B N Y"], HCAMState]:
        h, controller = self.controller(x, state.controller, present)
        _, new = self._attend(self._contents(x, h).unsqueeze(2), state)
        if present is not None:
            new = states.where(present, new, state._replace(controller=None))
        return h + self.out(new.read), new._replace(controller=controller)

    def unroll(
        self, xs: Float[Tensor, "T B N D"], state: HCAMState, reset: Bool[Tensor, "T B"] | None = None
    ) -> tuple[Float[Tensor, "T B N Y"], HCAMState]:
        """As the loop of `forward`: the controller takes all steps, then each reads, many at once."""
        hs, controller = self.controller.unroll(xs, state.controller, reset)
        reads, state = self._attend(self._contents(xs, hs).movedim(0, 2), state, reset)
        return hs + self.out(reads.movedim(2, 0)), state._replace(controller=controller)

    def _contents(self, x: Tensor, h: Tensor) -> Tensor:
        return layer_norm(torch.cat([x, h], -1), (self.width,))

    def _attend(
        self, contents: Float[Tensor, "B N T W"], state: HCAMState, reset: Bool[Tensor, "T B"] | None = None
    ) -> tuple[Float[Tensor, "B N T HV"], HCAMState]:
        """What T steps read, and the new state without the controller's."""
        before, steps = self.rows, contents.shape[2]
        number = step_numbers(state.written, before, steps, reset)
        rows, reads, size = torch.cat([state.rows, contents.detach()], 2), [], band.chunk_size(self.chunk_size)
        for start in range(0, steps, size):
            end = min(start + size, steps)
            past = slice(start, before + end - 1)  # rows that any of these steps may read
            chunks, last = split_chunks(rows[:, :, past], number[..., past], self.chunk_size)
            numbers = chunk_numbers(
                number[..., before + start : before + end], before, last, self.chunk_size, self.slots
            )
            read, weights = self.attention(contents[:, :, start:end], chunks, numbers >= 0)
            reads.append(read)
        written = number[..., -1] + 1
        kept = band.update_window(state.rows, contents.detach(), written.clamp(max=before), reset)
        by_slot = self._by_slot(weights, numbers[:, :, -1])
        return torch.cat(reads, 2), HCAMState(None, kept, written, reads[-1][:, :, -1], by_slot)

    def _by_slot(self, weights: Float[Tensor, "B N P C"], numbers: Int[Tensor, "B N P"]) -> Float[Tensor, "B N slots"]:
        """Weights over S slots of C steps; a chunk stays in its slot until another one takes its place."""
        slot = (numbers.clamp(min=0) % self.slots).unsqueeze(-1).expand(weights.shape)
        zeros = weights.new_zeros(*weights.shape[:2], self.slots, self.chunk_size)
        return zeros.scatter_add(2, slot, weights).flatten(2)

    def losses(self, state: HCAMState) -> dict[str, Float[Tensor, " B"]]:
        return self.controller.losses(state.controller)

    def metrics(self, state: HCAMState) -> dict[str, Float[Tensor, " B"]]:
        """Metrics of `experts.memory_metrics` for the keys of the chunks, mean over members; and the controller's."""
        lead, number = state.written.shape, step_numbers(state.written, self.rows, 0)
        chunks, last = split_chunks(state.rows, number, self.chunk_size)
        of_chunks = state.weights.unflatten(-1, (self.slots, self.chunk_size)).sum(-1)
        metrics = store_metrics(
            chunks.mean(-2).flatten(0, 1), (last >= 0).flatten(0, 1), of_chunks.flatten(0, 1).unsqueeze(1)
        )
        own = {name: value.view(lead).mean(1) for name, value in metrics.items()}
        return {**self.controller.metrics(state.controller), **own}

    def read_weights(self, state: HCAMState) -> Float[Tensor, "B N slots"]:
        """Weights of the last read over the C steps of each of S slots; chunk i of an episode is in slot i modulo S."""
        return state.weights

    def read_write_vectors(self, state: HCAMState) -> dict[str, Float[Tensor, "B N _"]]:
        """The values that the last step read, and keys and values of the content that it wrote."""
        newest = state.rows[..., -1, :]
        return {
            "read": state.read,
            "write_key": self.attention.key(newest),
            "write_value": self.attention.value(newest),
        }

    def select_members(self, state: HCAMState, index: Int[Tensor, " M"], x: Float[Tensor, "B M D"]) -> HCAMState:
        """Selects members of the memories and of the controller's state; -1 gives an initial one."""
        own, initial = (part._replace(controller=None) for part in (state, self.initial_state(x)))
        controller = self.controller.select_members(state.controller, index, x)
        return states.select_or_reset_members(own, initial, index)._replace(controller=controller)
