"""Memory Q-networks: unscaled attention over the inputs before the present one (MQN, RMQN, FRMQN, Oh et al. 2016)."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from experts import state as states
from experts.attention import sliding_window as band
from experts.attention.window import WindowCore
from experts.core import Core, check_positive, make_controller
from experts.state import State


class MQNState(NamedTuple):
    """State of an `MQN`.

    Args:
        controller: state of the controller.
        rows: the last inputs, newest last.
        written: number of rows written.
        read: read vector of the last step.
        weights: attention weights of the last step over the rows that were there before it, newest last.
    """

    controller: State
    rows: Float[Tensor, "B N M D"]
    written: Int[Tensor, "B N"]
    read: Float[Tensor, "B N Y"]
    weights: Float[Tensor, "B N slots"]


class MQN(WindowCore):
    """Memory Q-network core: the context h retrieves from the last `slots` inputs, without the present one.

    One step, with x the encoded frame and rows i the frames before it:

        h = controller(x), or controller([x, previous o]) with feedback
        o = sum_i softmax_i(h . W_key x_i) W_value x_i;   y = g(W h + b + o)

    where g is a ReLU on the second half of the units and the identity on the first. The scores are not scaled, and keys
    have no place in time. The controller is linear in the memory Q-network (`mqn`), an LSTM in the recurrent one
    (`rmqn`), and an LSTM that is fed the read vector in the feedback recurrent one (`frmqn`). While there is no row, o
    is 0.

    No parameter depends on `slots`: a trained core may be given another number for evaluation, `core.slots = 49`. The
    paper trains with 11 and evaluates with 49, a history of 12 and of 50 frames. Each member has a window of its own.

    Args:
        input_size: D.
        controller: a factory int -> Core; its input is x, or [x, o].
        slots: M, frames before the present one.
        feedback: whether the read vector is an input of the controller in the next step.
        output_size: Y, also the size of o; None: that of the controller.

    Raises:
        ValueError: a size below 1, or a controller whose sizes do not fit.

    Source: Oh et al. 2016 (arXiv:1605.09128), sections 3 and 4.
    """

    def __init__(
        self,
        input_size: int,
        controller: Callable[[int], Core],
        *,
        slots: int,
        feedback: bool = False,
        output_size: int | None = None,
    ):
        super().__init__()
        check_positive(slots=slots, output_size=1 if output_size is None else output_size)

        def read_size(hidden: int) -> int:
            return hidden if output_size is None else output_size

        self.controller = make_controller(controller, input_size, read_size if feedback else 0)
        hidden = self.controller.output_size
        self.input_size, self.output_size = input_size, hidden if output_size is None else output_size
        self.slots, self.feedback = slots, feedback
        self.key = nn.Linear(input_size, hidden, bias=False)
        self.value = nn.Linear(input_size, self.output_size, bias=False)
        self.out = nn.Linear(hidden, self.output_size)

    def initial_state(self, x: Float[Tensor, "B N D"]) -> MQNState:
        lead = x.shape[:2]
        return MQNState(
            self.controller.initial_state(self._with_read(x, x.new_zeros(*lead, self.output_size))),
            x.new_zeros(*lead, self.slots, self.input_size),
            x.new_zeros(lead, dtype=torch.long),
            x.new_zeros(*lead, self.output_size),
            x.new_zeros(*lead, self.slots),
        )

    def forward(
        self, x: Float[Tensor, "B N D"], state: MQNState, present: Bool[Tensor, "B N"] | None = None
    ) -> tuple[Float[Tensor, "B N Y"], MQNState]:
        h, controller = self.controller(self._with_read(x, state.read), state.controller, present)
        read, new = self._attend(x.unsqueeze(0), h.unsqueeze(0), state)
        if present is not None:
            new = states.where(present, new, state._replace(controller=None))
            read = new.read.unsqueeze(0)
        return self._output(h, read[0]), new._replace(controller=controller)

    def unroll(
        self, xs: Float[Tensor, "T B N D"], state: MQNState, reset: Bool[Tensor, "T B"] | None = None
    ) -> tuple[Float[Tensor, "T B N Y"], MQNState]:
        """As the loop of `forward`; without feedback the controller takes all steps, then each looks back."""
        if self.feedback:
            return super().unroll(xs, state, reset)
        hs, controller = self.controller.unroll(xs, state.controller, reset)
        reads, state = self._attend_in_chunks(xs, hs, state, reset)
        return self._output(hs, reads), state._replace(controller=controller)

    def _attend(self, xs: Tensor, hs: Tensor, state: MQNState, reset: Tensor | None = None) -> tuple[Tensor, MQNState]:
        """Read vectors of T steps, (T, B, N, Y), and the new state without the controller's."""
        steps, queries = xs.movedim(0, 2), hs.movedim(0, 2)  # (B, N, T, D), (B, N, T, H)
        visible, count = band.window_mask(state.written, len(xs), self.slots, reset)
        visible = visible.tril(self.slots - 1)  # (B, N, T, M + T) without each step itself
        inputs = torch.cat([state.rows, steps], -2)
        scores = queries @ self.key(inputs).mT
        weights = torch.softmax(scores.masked_fill(~visible, torch.finfo(scores.dtype).min), -1) * visible
        reads = weights @ self.value(inputs)  # (B, N, T, Y)
        rows = band.update_window(state.rows, steps, count, reset)
        last = weights[..., -1, -self.slots - 1 : -1].detach()
        return reads.movedim(2, 0), MQNState(None, rows, count, reads[:, :, -1], last)

    def _with_read(self, x: Tensor, read: Tensor) -> Tensor:
        """The controller's input."""
        return torch.cat([x, read], -1) if self.feedback else x

    def _output(self, h: Tensor, read: Tensor) -> Tensor:
        y = self.out(h) + read
        kept = self.output_size // 2
        return torch.cat([y[..., :kept], torch.relu(y[..., kept:])], -1)

    def read_weights(self, state: MQNState) -> Float[Tensor, "B N slots"]:
        """Attention weights of the last step, newest last; zeros in the first step of an episode."""
        return state.weights

    def select_members(self, state: MQNState, index: Int[Tensor, " M"], x: Float[Tensor, "B M D"]) -> MQNState:
        """Selects members of the windows and of the controller's state; -1 gives an initial one."""
        initial = self.initial_state(x)
        controller = self.controller.select_members(state.controller, index, self._with_read(x, initial.read))
        member_state, initial = (s._replace(controller=None) for s in (state, initial))
        return states.select_or_reset_members(member_state, initial, index)._replace(controller=controller)
