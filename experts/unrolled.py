"""Any core with the interface of `nn.GRU`: whole sequences in, whole sequences out.

Shapes: T step, B sequence, D input, Y output.
"""

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from experts import state as states
from experts.core import Core
from experts.recurrent.cell import Cell
from experts.state import State


class Unrolled(nn.Module):
    """A core of one member as a drop-in replacement for `nn.GRU`: (T, B, D) -> (T, B, Y) and the last state.

        memory = Unrolled(EpisodicMemory(28, partial(GRU, hidden_size=64), slots=128))
        ys, state = memory(xs)  # the next part of the sequence: ys, state = memory(xs, state)

    Sequences of different lengths are passed and returned as a `PackedSequence`. The state is that of the core; for a
    `Cell` it is as in torch: h (1, B, H) for a GRU, (h, c) for an LSTM.

    Args:
        core: the core that is unrolled.
        batch_first: sequences are (B, T, D) and (B, T, Y), as in torch.
        num_layers, bidirectional, dropout: arguments of `nn.GRU`; only 1, False and 0 are supported.

    Raises:
        ValueError: more than one layer, both directions, or dropout.
    """

    def __init__(
        self,
        core: Core,
        *,
        batch_first: bool = False,
        num_layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
    ):
        super().__init__()
        if num_layers != 1:
            raise ValueError(f"num_layers={num_layers}, want 1: stack several Unrolled(core) instead")
        if bidirectional:
            raise ValueError(
                "bidirectional=True, want False: a core runs forwards only; for both directions run a second Unrolled "
                "on xs.flip(0), flip its outputs, and concatenate both"
            )
        if dropout:
            raise ValueError(
                f"dropout={dropout}, want 0: it is applied between layers, and a core is one layer; use nn.Dropout"
            )
        self.core, self.batch_first = core, batch_first
        self.input_size, self.hidden_size = core.input_size, core.output_size

    def forward(
        self,
        x: Float[Tensor, "T B D"] | PackedSequence,
        state: State = None,
        reset: Bool[Tensor, "T B"] | None = None,
    ) -> tuple[Float[Tensor, "T B Y"] | PackedSequence, State]:
        """Unrolls the core over a batch of sequences.

        Args:
            x: the inputs, padded or packed; (B, T, D) with batch_first.
            state: the state before the first step; None: an initial one.
            reset: (T, B) also with batch_first: sequences whose state is reset before a step; None: none.

        Raises:
            ValueError: x or state of another shape, or reset with a PackedSequence.
        """
        if isinstance(x, PackedSequence):
            if reset is not None:
                raise ValueError("reset with a PackedSequence, want None: pass padded sequences (steps, batch, input)")
            return self._packed(x, state)
        xs = (x.transpose(0, 1) if self.batch_first else x).unsqueeze(2)
        if xs.dim() != 4 or xs.shape[0] == 0 or xs.shape[-1] != self.core.input_size:
            expected = "(batch, steps, input)" if self.batch_first else "(steps, batch, input)"
            raise ValueError(
                f"x {tuple(x.shape)}, want {expected} with at least one step and input_size={self.core.input_size}"
            )
        ys, state = self.core.unroll(xs, self._to_core_state(xs[0], state), reset)
        ys = ys.squeeze(2)
        return (ys.transpose(0, 1) if self.batch_first else ys), self._from_core_state(state)

    def _packed(self, x: PackedSequence, state: State) -> tuple[PackedSequence, State]:
        """Unrolls steps with the same batch size at once; sequences are sorted by length, longest first."""
        counts, lengths = torch.unique_consecutive(x.batch_sizes, return_counts=True)
        rows = int(counts[0])
        first = x.data.new_empty(rows, 1, x.data.shape[-1])
        if x.data.shape[-1] != self.core.input_size:
            raise ValueError(f"x.data {tuple(x.data.shape)}, want (steps, input_size={self.core.input_size})")
        state = self._to_core_state(first, state)
        if x.sorted_indices is not None:
            state = states.index(state, x.sorted_indices)
        ys, finished, sizes = [], [], []
        parts = x.data.split((counts * lengths).tolist())
        for part, size, next_size in zip(parts, counts.tolist(), [*counts[1:].tolist(), 0], strict=True):
            y, state = self.core.unroll(part.view(-1, size, 1, part.shape[-1]), state)
            ys.append(y.flatten(0, 2))
            row = torch.arange(size, device=part.device)
            finished.append(states.index(state, row[next_size:]))
            sizes.append(size - next_size)
            state = states.index(state, row[:next_size])
        last = states.cat(finished[::-1], sizes[::-1])
        if x.unsorted_indices is not None:
            last = states.index(last, x.unsorted_indices)
        return x._replace(data=torch.cat(ys)), self._from_core_state(last)

    def _to_core_state(self, x: Float[Tensor, "B 1 D"], state: Any) -> State:
        """The core's state from one in torch's form; an initial one for None."""
        if state is None:
            return self.core.initial_state(x)
        if not isinstance(self.core, Cell) or isinstance(state, self.core.State):
            return state
        parts = (state,) if isinstance(state, Tensor) else state
        expected = (1, x.shape[0], self.core.output_size)
        if [tuple(part.shape) for part in parts] != [expected] * len(self.core.State._fields):
            names = " and ".join(self.core.State._fields)
            shapes = [tuple(part.shape) for part in parts]
            raise ValueError(f"state {shapes}, want {names} of shape {expected}, or None")
        return self.core.State(*(part.transpose(0, 1) for part in parts))

    def _from_core_state(self, state: State) -> State:
        """The state in torch's form for a `Cell`, else the core's state."""
        if not isinstance(self.core, Cell):
            return state
        parts = tuple(part.transpose(0, 1) for part in state)
        return parts if len(parts) > 1 else parts[0]
