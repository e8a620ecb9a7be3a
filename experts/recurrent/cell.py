"""Base class of gated recurrent cells: the common parts of GRU and LSTM.

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
    initially zero; the first of them is the output. `cell_forward` and its gradient `cell_backward` are pure functions.
    `forward` uses `cell_forward` with autograd; `experts.episodic.fused_step` uses both. A subclass with a step of its
    own inherits neither torch's function for sequences nor a kernel.

    Args:
        input_size: D.
        hidden_size: H, also the output size.
    """

    gates: ClassVar[int]
    State: ClassVar[Any]  # the NamedTuple of the state
    # torch's function for whole sequences, with the same weights; None: there is none
    sequence: ClassVar[Callable[..., Any] | None] = None
    # (x, state, weights, biases) -> output of a cell whose state has one part; None where no kernel applies
    kernel_step: ClassVar[Callable[..., Tensor | None] | None] = None
    # (xs, state, reset, weights, biases) -> outputs and last state, likewise
    kernel_sequence: ClassVar[Callable[..., tuple[Tensor, Tensor] | None] | None] = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "cell_forward" not in vars(cls):
            return
        if "cell_backward" not in vars(cls):
            raise TypeError(f"{cls.__name__} has a cell_forward of its own: want cell_backward, its gradient, too")
        for name in ("sequence", "kernel_step", "kernel_sequence"):  # those of another step
            if name not in vars(cls):
                setattr(cls, name, None)

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
            nn.init.orthogonal_(gate)  # preserves the norm of the hidden state (Saxe et al. 2014)

    @staticmethod
    @abstractmethod
    def cell_forward(x_proj: Tensor, h_proj: Tensor, state: Tensors) -> tuple[Tensors, Tensors]:
        """One step after the linear maps: the new state, and the tensors that `cell_backward` needs.

        Args:
            x_proj: W x + b of all gates, (..., G).
            h_proj: U h + b of all gates, (..., G).
            state: the parts of the old state, (..., H).
        """

    @staticmethod
    @abstractmethod
    def cell_backward(grads: Tensors, state: Tensors, saved: Tensors) -> tuple[Tensor, Tensor, Tensors]:
        """Backward pass of `cell_forward`, without autograd.

        Args:
            grads: gradients of the parts of the new state.
            state: the parts of the old state.
            saved: the second result of `cell_forward`.

        Returns:
            The gradients of x_proj, of h_proj, and of the old state where it does not pass through h_proj.
        """

    def initial_state(self, x: Float[Tensor, "B N D"]) -> Any:
        return self.State(*(x.new_zeros(*x.shape[:2], self.output_size) for _ in self.State._fields))

    def forward(
        self, x: Float[Tensor, "B N D"], state: Any, present: Bool[Tensor, "B N"] | None = None
    ) -> tuple[Float[Tensor, "B N H"], Any]:
        kernel_step = type(self).kernel_step
        if kernel_step is not None:
            y = kernel_step(x, *state, self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)
            if y is not None:
                return self._keep_absent((y,), state, present)
        return self._step(linear(x, self.weight_ih, self.bias_ih), state, present)

    def unroll(
        self, xs: Float[Tensor, "T B N D"], state: Any, reset: Bool[Tensor, "T B"] | None = None
    ) -> tuple[Float[Tensor, "T B N H"], Any]:
        """As the loop of `forward`, by a kernel, or by torch's function for whole sequences, split at resets."""
        kernel_sequence = type(self).kernel_sequence
        if kernel_sequence is not None:
            result = kernel_sequence(xs, *state, reset, self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)
            if result is not None:
                return result[0], self.State(result[1])
        whole = type(self).sequence is not None and not functorch_active()  # vmap has no rule for torch's function
        if whole and reset is None:
            return self._unroll_full(xs, state)
        if (
            whole and reset is not None and not torch.compiler.is_compiling() and not reset.is_meta
        ):  # has values to read
            return self._unroll_packed(xs, state, reset)
        initial, ys = self.initial_state(xs[0]), []
        for t, x_proj in enumerate(linear(xs, self.weight_ih, self.bias_ih).unbind()):
            if reset is not None:
                state = states.where(reset[t], initial, state)
            y, state = self._step(x_proj, state)
            ys.append(y)
        return torch.stack(ys), state

    def _unroll_full(self, xs: Tensor, state: Any) -> tuple[Tensor, Any]:
        ys, final = self._sequence((xs.flatten(1, 2),), tuple(part.flatten(0, 1) for part in state), False)
        state = self.State(*(part.view(xs.shape[1:3] + part.shape[-1:]) for part in final))
        return ys.view(*xs.shape[:3], self.output_size), state

    def _unroll_packed(self, xs: Tensor, state: Any, reset: Tensor) -> tuple[Tensor, Any]:
        rows = pack_at_resets(reset.repeat_interleave(xs.shape[2], 1))
        packed = xs.flatten(1, 2).transpose(0, 1).flatten(0, 1)[rows.sorted_indices]  # (T, R, D) -> (R * T, D)
        initial = (torch.where(rows.continues.unsqueeze(-1), part.flatten(0, 1)[rows.row_index], 0) for part in state)
        ys, final = self._sequence((packed, rows.batch_sizes), tuple(initial))
        ys = ys[rows.unsorted_indices].unflatten(0, (-1, len(xs))).transpose(0, 1)  # (T, R, H)
        return ys.unflatten(1, xs.shape[1:3]), self.State(
            *(part[rows.last_piece].unflatten(0, xs.shape[1:3]) for part in final)
        )

    def _sequence(self, xs: Tensors, state: Tensors, *batch_first: bool) -> tuple[Tensor, Tensors]:
        """torch's function for sequences (T, R, D), or for packed data and batch sizes; states are (R, H)."""
        weights = [self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh]
        parts = tuple(part.unsqueeze(0) for part in state)
        hidden = parts if len(parts) > 1 else parts[0]
        options = (True, 1, 0.0, torch.is_grad_enabled(), False, *batch_first)
        sequence = type(self).sequence
        assert sequence is not None
        ys, *final = sequence(*xs, hidden, weights, *options)
        return ys, tuple(part.squeeze(0) for part in final)

    def _step(self, x_proj: Tensor, state: Any, present: Tensor | None = None) -> tuple[Tensor, Any]:
        new, _ = self.cell_forward(x_proj, linear(state[0], self.weight_hh, self.bias_hh), state)
        return self._keep_absent(new, state, present)

    def _keep_absent(self, new: Tensors, state: Any, present: Tensor | None) -> tuple[Tensor, Any]:
        """Output and state of a step; absent members keep the old state."""
        if present is not None:
            new = tuple(torch.where(present.unsqueeze(-1), a, b) for a, b in zip(new, state, strict=True))
        return new[0], self.State(*new)
