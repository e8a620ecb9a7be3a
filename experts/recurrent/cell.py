"""Gated recurrent cells: what the GRU and the LSTM have in common.

Shapes: B episode, N members, D input, H hidden, G numbers in all gates.
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import linear

from experts import state as states
from experts.core import Core, check_positive
from experts.recurrent.packing import pack_at_resets
from experts.torch_internals import functorch_active

Tensors = tuple[Tensor, ...]


class Cell(Core):
    """A core whose gates are a linear map of the input and one of the hidden state, then elementwise operations.

    Parameters have the names and shapes of torch.nn's cells. The state is a NamedTuple `State` of (B, N, H) tensors,
    zero at first; the first of them is the output. `cell_forward` and its gradient `cell_backward` are pure: `forward` uses the
    one, with autograd; `experts.episodic.fused_step` both.
    """

    gates: ClassVar[int]
    State: ClassVar[Any]  # the NamedTuple of the state
    sequence: ClassVar[Callable[..., Any]]  # torch's function of a whole sequence, with the same weights

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__()
        check_positive(hidden_size=hidden_size)
        self.input_size, self.output_size = input_size, hidden_size
        self.weight_ih = nn.Parameter(torch.empty(self.gates * hidden_size, input_size))
        self.weight_hh = nn.Parameter(torch.empty(self.gates * hidden_size, hidden_size))
        self.bias_ih = nn.Parameter(torch.empty(self.gates * hidden_size))
        self.bias_hh = nn.Parameter(torch.empty(self.gates * hidden_size))
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -(hidden_size**-0.5), hidden_size**-0.5)
        for gate in self.weight_hh.detach().chunk(self.gates):
            nn.init.orthogonal_(gate)  # keeps the norm of what is remembered (Saxe et al. 2014)

    @staticmethod
    @abstractmethod
    def cell_forward(from_x: Tensor, from_h: Tensor, state: Tensors) -> tuple[Tensors, Tensors]:
        """The new state, and what `cell_backward` needs of this step; from_x, from_h: (..., G)."""

    @staticmethod
    @abstractmethod
    def cell_backward(grads: Tensors, state: Tensors, kept: Tensors) -> tuple[Tensor, Tensor, Tensors]:
        """From gradients of the new state, the old state, and what was kept: the gradients of from_x, of from_h, and
        of the old state where it does not pass through from_h."""

    def initial_state(self, x: Float[Tensor, "B N D"]) -> Any:
        return self.State(*(x.new_zeros(*x.shape[:2], self.output_size) for _ in self.State._fields))

    def forward(
        self, x: Float[Tensor, "B N D"], state: Any, present: Bool[Tensor, "B N"] | None = None
    ) -> tuple[Float[Tensor, "B N H"], Any]:
        return self._step(linear(x, self.weight_ih, self.bias_ih), state, present)

    def unroll(
        self, xs: Float[Tensor, "T B N D"], state: Any, reset: Bool[Tensor, "T B"] | None = None
    ) -> tuple[Float[Tensor, "T B N H"], Any]:
        """As the loop of `forward`; by torch's own function for all steps, of all pieces between two beginnings."""
        if reset is None and not functorch_active():  # vmap has no rule for it
            return self._unroll_full(xs, state)
        looked_at = not (functorch_active() or torch.compiler.is_compiling())  # where a row begins anew
        if reset is not None and looked_at and not reset.is_meta:
            return self._unroll_packed(xs, state, reset)
        fresh, ys = self.initial_state(xs[0]), []
        for t, from_x in enumerate(linear(xs, self.weight_ih, self.bias_ih).unbind()):
            if reset is not None:
                state = states.where(reset[t], fresh, state)
            y, state = self._step(from_x, state)
            ys.append(y)
        return torch.stack(ys), state

    def _unroll_full(self, xs: Tensor, state: Any) -> tuple[Tensor, Any]:
        ys, last = self._sequence((xs.flatten(1, 2),), tuple(part.flatten(0, 1) for part in state), False)
        ended = self.State(*(part.view(xs.shape[1:3] + part.shape[-1:]) for part in last))
        return ys.view(*xs.shape[:3], self.output_size), ended

    def _unroll_packed(self, xs: Tensor, state: Any, reset: Tensor) -> tuple[Tensor, Any]:
        cut = pack_at_resets(reset.repeat_interleave(xs.shape[2], 1))
        packed = xs.flatten(1, 2).transpose(0, 1).flatten(0, 1)[cut.sorted_indices]  # (T, R, D) -> (R * T, D)
        began = (torch.where(cut.continues.unsqueeze(-1), part.flatten(0, 1)[cut.row_index], 0) for part in state)
        ys, last = self._sequence((packed, cut.batch_sizes), tuple(began))
        ys = ys[cut.unsorted_indices].unflatten(0, (-1, len(xs))).transpose(0, 1)  # (T, R, H)
        return ys.unflatten(1, xs.shape[1:3]), self.State(
            *(part[cut.last_piece].unflatten(0, xs.shape[1:3]) for part in last)
        )

    def _sequence(self, xs: Tensors, state: Tensors, *batch_first: bool) -> tuple[Tensor, Tensors]:
        """torch's function, of sequences (T, R, D), or of packed ones and their sizes; states are (R, H)."""
        weights = [self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh]
        parts = tuple(part.unsqueeze(0) for part in state)
        hidden = parts if len(parts) > 1 else parts[0]
        options = (True, 1, 0.0, torch.is_grad_enabled(), False, *batch_first)
        ys, *last = type(self).sequence(*xs, hidden, weights, *options)
        return ys, tuple(part.squeeze(0) for part in last)

    def _step(self, from_x: Tensor, state: Any, present: Tensor | None = None) -> tuple[Tensor, Any]:
        new, _ = self.cell_forward(from_x, linear(state[0], self.weight_hh, self.bias_hh), state)
        if present is not None:
            new = tuple(torch.where(present.unsqueeze(-1), a, b) for a, b in zip(new, state, strict=True))
        return new[0], self.State(*new)
